"""Forebay's agent: captures committed changes of a department's tables and hands them over. Start at `pipeline.py`."""

__version__ = "0.1.0"
