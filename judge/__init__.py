"""The page where people score replies, blind.

``python -m judge --help``.
"""
