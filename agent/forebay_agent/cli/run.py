"""`forebay-agent run`: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

import argparse
from typing import Final

SUMMARY: Final = "capture and send until stopped"
DESCRIPTION: Final = """\
Captures and sends until it is stopped (SIGTERM, Ctrl-C). A changed configuration takes force without a restart when it
is valid as a whole; otherwise the one before stays in force and the refusal is reported."""
EXAMPLES: Final = """\
examples:
  systemctl start forebay-agent          the usual way
  forebay-agent --config ./site run      in the foreground
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: argparse.Namespace) -> int:
    from forebay_agent.supervisor import run as run_daemon

    return run_daemon(options.config)
