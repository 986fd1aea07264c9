"""The stages of a row: train, export, serve, evaluate."""
