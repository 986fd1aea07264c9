"""The questions that are asked of every row; a pass means "this can be trusted", not "this is high"."""
