"""Compare several LLMs, fairly and unattended, from fine-tuning to human judgement."""

__version__ = "0.2.0"
