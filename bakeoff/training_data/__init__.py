"""Read training data as ms-swift does: which rows it keeps, and why it drops the others."""
