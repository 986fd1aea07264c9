"""Compare several LLMs unattended, from fine-tuning to human judgement."""

__version__ = "0.2.0"
