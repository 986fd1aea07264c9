"""Python environments of a row, and what is installed in them."""
