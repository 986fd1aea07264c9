"""What a probe measures inside a row's environment.

Imports nothing else of the project.
"""
