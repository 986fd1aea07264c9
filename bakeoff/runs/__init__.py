"""A run as a whole: its plan, its name, its tables and its end."""
