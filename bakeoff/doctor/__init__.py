"""Find out before a run what would make it fail."""
