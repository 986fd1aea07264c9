"""Recompute a finished run from its raw records, and read its report back: ``python -m bakeoff.verify``."""
