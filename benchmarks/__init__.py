"""The questions that every row is asked.

A pass means "this can be trusted", not "this is high".
"""
