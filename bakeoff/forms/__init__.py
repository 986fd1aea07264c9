"""Turn published weights into the form that all tools understand."""
