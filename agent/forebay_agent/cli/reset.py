"""`forebay-agent reset`: captures one stream anew from the start of its table, under the next epoch."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay_agent.cli import problems

if TYPE_CHECKING:
    from forebay_wire.stream import StreamName

SUMMARY: Final = "start one stream anew (a new epoch), audited"
DESCRIPTION: Final = """\
Starts one stream anew: its table is read again from the beginning under the next epoch, which replaces in the platform
what the epochs before it brought. Who, when and why are kept (`forebay-agent outbox --resets`). The running agent takes
it up by itself."""
EXAMPLES: Final = """\
examples:
  forebay-agent reset civil_affairs/civil/public.low_income --reason "table was rebuilt on 3 March"
  forebay-agent reset civil_affairs/civil/public.low_income --reason "key changed" --yes
  forebay-agent reset --lost --reason "the appliance's disk was exchanged" --yes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "stream", nargs="?", metavar="STREAM", help="department/source/schema.table, as `status` names it"
    )
    parser.add_argument(
        "--lost",
        action="store_true",
        help="every stream that is held because its state here, or the centre's, was lost",
    )
    parser.add_argument("--reason", required=True, metavar="WHY", help="why, for the audit")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    from forebay_agent import owner
    from forebay_agent.config.load import load_agent
    from forebay_agent.outbox import Outbox

    if not options.reason.strip():
        return usage("--reason is empty", "say why, in a few words")
    if options.lost == (options.stream is not None):
        return usage("one stream is named, or --lost", "give one of the two")
    config = load_agent(options.config)
    owner.become(config.state)
    found = lost_streams(config.state) if options.lost else known_stream(options.stream, config.state)
    if isinstance(found, int):
        return found
    names = found if isinstance(found, list) else [found]
    if not names:
        print("no stream is held because a state was lost")
        return 0
    if not options.yes:
        if not sys.stdin.isatty():
            return usage("nobody can be asked here", "add --yes when you mean it")
        for name in names:
            print(f"{name} will be captured anew from the start of its table.")
        if input("Type yes to go on: ").strip().casefold() not in ("y", "yes", "是"):
            print("nothing was done")
            return 1
    with closing(Outbox.open(config.state, config.outbox, check=False)) as outbox:
        for name in names:
            record = outbox.reset(name, who=who(), why=options.reason.strip())
            print(f"{name}: epoch {record.epoch} begins")
    return 0


def lost_streams(state: Path) -> list[StreamName] | int:
    """Those that are held because collector and outbox do not fit together, or the exit code after it was said why not."""
    from forebay_agent.errors import CollectorBehind, StateLost
    from forebay_agent.outbox import OutboxReader
    from forebay_agent.outbox.file import FILE_NAME

    if not (state / FILE_NAME).exists():
        return problems.never_run(state, sys.stderr)
    with closing(OutboxReader(state)) as reader:
        holds = [(stream.name, stream.hold) for stream in reader.streams()]
    return [name for name, hold in holds if hold is not None and hold.code in (StateLost.code, CollectorBehind.code)]


def known_stream(text: str, state: Path) -> StreamName | int:
    """The stream that was named, or the exit code after it was said why there is none."""
    from forebay_agent.outbox import OutboxReader
    from forebay_agent.outbox.file import FILE_NAME
    from forebay_wire.errors import WireError
    from forebay_wire.stream import StreamName

    try:
        name = StreamName.parse(text)
    except WireError as error:
        return usage(str(error), "write department/source/schema.table, as `forebay-agent status` names it")
    if not (state / FILE_NAME).exists():
        return problems.never_run(state, sys.stderr)
    with closing(OutboxReader(state)) as reader:
        known = [stream.name for stream in reader.streams()]
    if name in known:
        return name
    sys.stderr.write(
        f"error: {name}: there is no such stream\n"
        + "".join(f"  known:  {each}\n" for each in known)
        + "  remedy: name one of these; `forebay-agent status` lists them\n"
    )
    return 1


def who() -> str:
    """The person at the keyboard, also behind sudo."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {user}" if behind and behind != user else user


def usage(problem: str, remedy: str) -> int:
    sys.stderr.write(f"error: {problem}\n  remedy: {remedy}\n")
    return 2
