"""The frame of the command line: options that every command has, the command's own module, and its exit code.

A command is a module with `add_arguments(parser)` and `run(arguments, office) -> exit code`; its docstring is its help
(first line the summary, the rest with examples). It is imported only when it is the one that runs, so that listings
answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay_collector import __version__
from forebay_collector.cli.problems import FINE, INTERRUPTED, problem_of

if TYPE_CHECKING:
    from forebay_collector.cli.office import Office

COMMANDS: Final = {
    "init": "make a collector: ledger, certificate authority, server certificate",
    "serve": "receive, load and control until told to stop",
    "token": "make a one-time token with which an agent enrols",
    "agents": "list the agents, how each stands and why; show or revoke one",
    "command": "ask an agent to do something, wait for it, and say what it did",
    "offer": "offer settings to agents, in stages, and see what became of it",
    "approvals": "list what agents would share, and approve, reject or withdraw it",
    "streams": "list the streams: how far each is, how late, and why it is held",
    "batches": "list batches and what became of them",
    "replay": "load quarantined batches again, or discard one",
    "alerts": "list what is the matter, acknowledge it, try the ways by which people are told",
    "maintenance": "list, open or close windows in which nobody is told",
    "verify": "compare source and platform, and list the keys that differ",
    "repair": "read anew what differs between source and platform, and send it again",
    "custody": "verify that every batch is what its agent sealed, and in its place",
    "trace": "say where a row of the platform comes from, and every hand it passed",
    "certificate": "issue, list, show and verify certificates of completeness",
    "import": "take what agents without a line sent on a disk, and leave the answer there",
    "tables": "list the platform's tables",
    "sql": "query the platform",
    "users": "list the accounts of people, or change one",
    "backup": "copy ledger, identity, settings and catalogue, while it all goes on",
    "restore": "put a backup back, and rebuild what is newer",
    "audit": "list who did what, when and why, and verify that nothing of it was altered",
    "demo": "show it all on this machine, with departments and rows made up",
}
_DEFAULT_DATA: Final = "/var/lib/forebay-collector"
_DESCRIPTION: Final = """\
Receives the departments' changes, keeps them, and loads them into the big-data platform, exactly once.

a first collector:
  forebay-collector init --address collector.city.example:7443
  forebay-collector token --department 市监局 --agent scjg-01 --out scjg-01.token
  forebay-collector serve
  forebay-collector approvals

then look:
  forebay-collector streams
  forebay-collector sql "select count(*) from enterprise"
  forebay-collector verify --all
"""
_EXITS: Final = (
    "exit codes: 0 fine, 1 the asked-for thing is not so, 2 usage, 3 configuration, 4 unreachable, 5 refused"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; -> the exit code. No traceback unless --debug asks for it."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser, run = command_line(given)
    arguments = parser.parse_args(given)
    if run is None:
        parser.print_help()
        return FINE
    from forebay_collector.cli.office import Office  # the ledger takes a while, which --help need not wait for

    office = Office(arguments.data, sys.stdout, sys.stderr)
    try:
        code = run(arguments, office)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        office.progress.done()
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has enough; keep the interpreter from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except Exception as error:
        office.progress.done()
        if arguments.debug:
            traceback.print_exc()
        problem = problem_of(error)
        problem.print(sys.stderr)
        return problem.exit_code
    finally:
        with suppress(Exception):
            office.close()


def command_line(
    given: Sequence[str],
) -> tuple[argparse.ArgumentParser, Callable[[argparse.Namespace, Office], int] | None]:
    """The parser, with the arguments of just the command that was given; and that command."""
    parser = argparse.ArgumentParser(
        prog="forebay-collector",
        description=_DESCRIPTION,
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("FOREBAY_DATA") or _DEFAULT_DATA),
        metavar="FOLDER",
        help=f"the collector's folder (default: FOREBAY_DATA, else {_DEFAULT_DATA})",
    )
    parser.add_argument("--debug", action="store_true", help="print tracebacks")
    parser.add_argument("--version", action="version", version=f"forebay-collector {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    chosen = _chosen(given)
    run = None
    for name, summary in COMMANDS.items():
        if name != chosen:
            commands.add_parser(name, help=summary, add_help=False)
            continue
        module = import_module(f"forebay_collector.cli.commands.{name}")
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            epilog=_EXITS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        run = module.run
    return parser, run


def _chosen(given: Sequence[str]) -> str | None:
    """The command among the arguments: the first that is neither an option nor the value of --data."""
    value_follows = False
    for argument in given:
        if value_follows:
            value_follows = False
        elif argument == "--data":
            value_follows = True
        elif not argument.startswith("-"):
            return argument if argument in COMMANDS else None
    return None
