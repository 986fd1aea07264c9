"""``sft``, ``export`` and ``deploy``, as ``python -m swift.cli.<name>``."""
