"""The command line. `main.py` is the frame; one file per command; `problems.py` turns known errors into sentences."""

from forebay_collector.cli.main import main

__all__ = ["main"]
