"""`forebay-agent enroll`: a one-time token becomes this appliance's certificate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay_agent.cli.reset import usage

if TYPE_CHECKING:
    from forebay_agent.identity import Identity

SUMMARY: Final = "get this appliance's certificate with a one-time token"
DESCRIPTION: Final = """\
Makes a private key, which never leaves this appliance, and has the collector sign its certificate. The token comes from
the centre (`forebay-collector token`), works once, and is good for nothing else. Enrolling again replaces the
certificate; what waits in the outbox stays.

Where no line leads to the centre: `--export DIR` writes the request into a file for `forebay-collector import DIR`, and
`--answer DIR` takes the answer that the import left there. The file holds what the token holds, until it was imported."""
EXAMPLES: Final = """\
examples:
  forebay-agent enroll join.token
  ssh centre forebay-collector token --department civil_affairs --agent civil-1 | forebay-agent enroll -
  forebay-agent enroll join.token --export /media/disk   without a line: the request, for the centre
  forebay-agent enroll --answer /media/disk              the certificate, when the disk has come back
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="TOKENFILE", help="the token's file, `-` for standard input")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write the request to a disk instead of sending it")
    parser.add_argument("--answer", type=Path, metavar="DIR", help="take the centre's answer from a disk")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    from forebay_agent import owner
    from forebay_agent.config.load import load_agent
    from forebay_agent.enrollment import enroll
    from forebay_agent.ferry import enrolling

    if (options.file is None) == (options.answer is None) or (
        options.answer is not None and options.export is not None
    ):
        return usage("what is asked for is not clear", "name the token's file, or `--answer DIR`")
    config = load_agent(options.config)
    if options.answer is not None:
        owner.become(config.state)
        return _told(enrolling.take(config.state, options.answer), options)
    try:
        text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        sys.stderr.write(
            f"error: token file {options.file} cannot be read\n  why:    {reason}\n"
            "  remedy: name the file that the centre gave you\n"
        )
        return 2
    if options.export is not None:
        return export(text, config.state, config.collector.addresses, options.export, as_json=options.json)
    owner.become(config.state)
    return _told(enroll(text, config.state, addresses=config.collector.addresses), options)


def _told(own: Identity, options: argparse.Namespace) -> int:
    from forebay_agent.cli import listing

    if options.json:
        row = {"agent": own.agent, "department": own.department, "expires_at": own.expires_at.isoformat()}
        listing.print_json(row, sys.stdout)
        return 0
    print(f"enrolled as agent {own.agent} of department {own.department}; valid until {own.expires_at:%Y-%m-%d}")
    if options.answer is not None:
        print("next: start the agent; `forebay-agent outbox export DIR` then carries what it proposes to share")
    return 0


def export(text: str, state: Path, addresses: tuple[str, ...], folder: Path, *, as_json: bool = False) -> int:
    """Writes the request to a disk. The key is made as who owns the state folder; the disk may be root's alone."""
    from forebay_agent import asked, owner
    from forebay_agent.cli import listing, problems
    from forebay_agent.clock import SystemClock
    from forebay_agent.enrollment import usable
    from forebay_agent.ferry import enrolling

    token = usable(text)

    def ask() -> None:
        enrolling.ask(token, state, addresses)

    if code := owner.as_owner(state, ask, problems.told):
        return code
    waiting = asked.find(state, asked.ENROLMENT)
    assert waiting is not None
    path = enrolling.request(token, waiting, folder, SystemClock())
    if as_json:
        listing.print_json({"agent": token.agent, "department": token.department, "file": str(path)}, sys.stdout)
    else:
        print(
            f"{path}: the request of agent {token.agent} of department {token.department}; it holds what the token holds"
        )
        print("next: `forebay-collector import DIR` at the centre, then `forebay-agent enroll --answer DIR` here")
    return 0
