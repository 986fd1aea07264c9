"""The judge: a page where people score replies, blind. ``python -m judge --help``."""
