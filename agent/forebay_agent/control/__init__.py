"""Control: one long-lived call per agent. Its hello and heartbeats go up; commands come down and are answered.

control.py       the thread and its connections       beats.py         what a heartbeat tells
commands.py      from a command to its handler        addressing.py    which streams it speaks of
handlers.py      the handlers of all that changes something:
    pausing.py   retaking.py (snapshots)   resending.py   offering.py   diagnostics.py
draining.py      everything captured and durable
reading.py       digests of a table as it is at its source
"""

from forebay_agent.control.control import Control

__all__ = ["Control"]
