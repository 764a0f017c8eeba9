"""Control: one long-lived call per agent. Its hello and heartbeats go up; commands come down and are answered.

control.py     the thread and its connections
commands.py    what each command does
reading.py     digests of a table as it is at its source
"""

from forebay_agent.control.control import Control

__all__ = ["Control"]
