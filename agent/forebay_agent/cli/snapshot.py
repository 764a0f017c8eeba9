"""`forebay-agent snapshot`: reads a stream's table anew, all of it or a range of its keys, while changes go on."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING, Final

from forebay_agent.cli.reset import known_stream, usage, who

if TYPE_CHECKING:
    from forebay_agent.config.model import AgentConfig
    from forebay_wire.stream import StreamName

SUMMARY: Final = "read a stream's table anew, or a range of its keys"
DESCRIPTION: Final = """\
Reads a stream's table anew while its changes go on being captured. Without a range this begins the stream's next epoch,
and takes a stream that is held out of it; the platform keeps showing what it has until the new copy is complete, and then
shows that. With --from and --through (mode log only, and not while the stream is held) only rows whose first key column
lies between them, both included, are read and replaced. Who, when and why are kept. The running agent takes it up by itself."""
EXAMPLES: Final = """\
examples:
  forebay-agent snapshot civil_affairs/civil/public.low_income --reason "binlog was purged"
  forebay-agent snapshot civil_affairs/civil/public.low_income --from 1000 --through 1999 --reason "row 1234 differs"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", metavar="STREAM", help="department/source/schema.table, as `status` names it")
    parser.add_argument("--reason", required=True, metavar="WHY", help="why, for the audit")
    parser.add_argument("--from", dest="at_least", metavar="KEY", help="the first key column's least value")
    parser.add_argument("--through", metavar="KEY", help="the first key column's greatest value")


def run(options: argparse.Namespace) -> int:
    from forebay_agent.config.load import load
    from forebay_agent.log.stream import PARKED
    from forebay_agent.outbox import Outbox
    from forebay_agent.pipeline import checkpoint_of
    from forebay_wire.errors import LimitExceeded
    from forebay_wire.key_range import KeyRange

    if not options.reason.strip():
        return usage("--reason is empty", "say why, in a few words")
    config = load(options.config)
    name = known_stream(options.stream, config.state)
    if isinstance(name, int):
        return name
    ranged = options.at_least is not None or options.through is not None
    if ranged and not _is_logged(config, name):
        return usage(
            f"{name}: only a stream in mode log can take a range anew",
            "leave --from and --through out, or see `tables`",
        )
    with closing(Outbox.open(config.state, config.outbox, check=False)) as outbox:
        if not ranged:
            record = outbox.reset(name, who=who(), why=options.reason.strip())
            print(f"{name}: epoch {record.epoch} begins with a new snapshot")
            return 0
        try:
            bounds = KeyRange(options.at_least, options.through)
        except LimitExceeded as error:
            return usage(str(error), "give shorter values")
        if checkpoint_of(outbox.stream(name)).phase == PARKED:
            return usage(f"{name} is held: a range would not free it", "leave --from and --through out")
        outbox.request_range(name, bounds, who=who(), why=options.reason.strip())
    print(
        f"{name}: keys from {options.at_least or 'the first'} through {options.through or 'the last'} will be read anew"
    )
    return 0


def _is_logged(config: AgentConfig, name: StreamName) -> bool:
    for source in config.sources:
        for table in source.tables:
            if (source.name, table.name) == (name.source, name.table):
                return table.mode == "log"
    return False
