"""Read training data as ms-swift does: the rows that it keeps or drops."""
