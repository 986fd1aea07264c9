"""Asks an OpenAI-compatible service for chat completions."""
