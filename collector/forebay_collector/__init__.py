"""Forebay's collector: receives, archives, records and loads sealed batches. Start at `pipeline.py`."""

__version__ = "0.1.0"
