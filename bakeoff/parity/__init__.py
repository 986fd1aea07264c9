"""Hold what is served against what was trained."""
