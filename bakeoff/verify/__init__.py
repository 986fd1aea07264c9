"""A run recomputed from its raw records, and its report read back."""
