"""Turn published weights into the form that every current tool understands."""
