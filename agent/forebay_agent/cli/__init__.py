"""The command line: `main.py` is the frame, every other file one command; `problems.py` turns errors into sentences."""

from forebay_agent.cli.main import main

__all__ = ["main"]
