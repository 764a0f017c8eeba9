"""`forebay-agent reset`: captures one stream anew from the start of its table, under the next epoch."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from contextlib import closing
from typing import Final

from forebay_agent.cli import problems

SUMMARY: Final = "start one stream anew (a new epoch), audited"
DESCRIPTION: Final = """\
Starts one stream anew: its table is read again from the beginning under the next epoch, which replaces in the platform
what the epochs before it brought. Who, when and why are kept (`forebay-agent outbox --resets`). The running agent takes
it up by itself."""
EXAMPLES: Final = """\
examples:
  forebay-agent reset civil_affairs/civil/public.low_income --reason "table was rebuilt on 3 March"
  forebay-agent reset civil_affairs/civil/public.low_income --reason "key changed" --yes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", metavar="STREAM", help="department/source/schema.table, as `status` names it")
    parser.add_argument("--reason", required=True, metavar="WHY", help="why, for the audit")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    from forebay_agent.config.load import load_agent
    from forebay_agent.outbox import Outbox, OutboxReader
    from forebay_agent.outbox.file import FILE_NAME
    from forebay_wire.errors import WireError
    from forebay_wire.stream import StreamName

    if not options.reason.strip():
        return _usage("--reason is empty", "say why, in a few words")
    try:
        name = StreamName.parse(options.stream)
    except WireError as error:
        return _usage(str(error), "write department/source/schema.table, as `forebay-agent status` names it")
    config = load_agent(options.config)
    if not (config.state / FILE_NAME).exists():
        return problems.never_run(config.state, sys.stderr)
    with closing(OutboxReader(config.state)) as reader:
        known = [stream.name for stream in reader.streams()]
    if name not in known:
        sys.stderr.write(
            f"error: {name}: there is no such stream\n"
            + "".join(f"  known:  {each}\n" for each in known)
            + "  remedy: name one of these; `forebay-agent status` lists them\n"
        )
        return 1
    if not options.yes:
        if not sys.stdin.isatty():
            return _usage("nobody can be asked here", "add --yes when you mean it")
        print(f"{name} will be captured anew from the start of its table.")
        if input("Type yes to go on: ").strip().casefold() not in ("y", "yes", "是"):
            print("nothing was done")
            return 1
    with closing(Outbox.open(config.state, config.outbox, check=False)) as outbox:
        record = outbox.reset(name, who=_who(), why=options.reason.strip())
    print(f"{name}: epoch {record.epoch} begins")
    return 0


def _who() -> str:
    """The person at the keyboard, also behind sudo."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {user}" if behind and behind != user else user


def _usage(problem: str, remedy: str) -> int:
    sys.stderr.write(f"error: {problem}\n  remedy: {remedy}\n")
    return 2
