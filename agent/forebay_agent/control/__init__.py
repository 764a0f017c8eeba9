"""Control: one long-lived call to the collector; heartbeats go up, commands come down (`control.py`, `commands.py`)."""

from forebay_agent.control.control import Control

__all__ = ["Control"]
