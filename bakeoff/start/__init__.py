"""The first hour: a new comparison, its estimate, and the demonstration."""
