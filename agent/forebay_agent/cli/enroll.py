"""`forebay-agent enroll`: a one-time token becomes this appliance's certificate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

SUMMARY: Final = "get this appliance's certificate with a one-time token"
DESCRIPTION: Final = """\
Makes a private key, which never leaves this appliance, and has the collector sign its certificate. The token comes from
the centre (`forebay-collector token`), works once, and is good for nothing else. Enrolling again replaces the
certificate; what waits in the outbox stays."""
EXAMPLES: Final = """\
examples:
  forebay-agent enroll join.token
  ssh centre forebay-collector token --department civil_affairs --agent civil-1 | forebay-agent enroll -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="TOKENFILE", help="the token's file, `-` for standard input")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    from forebay_agent import owner
    from forebay_agent.cli import listing
    from forebay_agent.config.load import load_agent
    from forebay_agent.enrollment import enroll

    config = load_agent(options.config)
    try:
        text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        sys.stderr.write(
            f"error: token file {options.file} cannot be read\n  why:    {reason}\n"
            "  remedy: name the file that the centre gave you\n"
        )
        return 2
    owner.become(config.state)
    own = enroll(text, config.state, addresses=config.collector.addresses)
    if options.json:
        row = {"agent": own.agent, "department": own.department, "expires_at": own.expires_at.isoformat()}
        listing.print_json(row, sys.stdout)
    else:
        print(f"enrolled as agent {own.agent} of department {own.department}; valid until {own.expires_at:%Y-%m-%d}")
    return 0
