"""Run a stage once, keep its record, say why it runs again."""
