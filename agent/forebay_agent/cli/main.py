"""The frame of every command: arguments, and the one place where an error becomes an exit code.

Exit codes: 0 fine, 1 the asked-for thing is not so, 2 usage, 3 configuration, 4 unreachable, 5 refused, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, NoReturn

from forebay_agent.cli import (
    check,
    diagnostics,
    doctor,
    enroll,
    outbox,
    problems,
    reset,
    run,
    setup,
    snapshot,
    status,
    tables,
)
from forebay_agent.errors import AgentError

DEFAULT_CONFIG: Final = Path("/etc/forebay-agent")
_COMMANDS: Final = (setup, doctor, diagnostics, enroll, check, tables, run, status, outbox, snapshot, reset)

_EPILOG: Final = """\
the first hour: `forebay-agent setup` asks what it needs, and does all of this; or step by step:
  forebay-agent check                    what is missing, and the SQL that a DBA should run
  forebay-agent tables                   which SQL will read which columns
  forebay-agent enroll join.token        get this appliance's certificate
  systemctl start forebay-agent          or: forebay-agent run
  forebay-agent status                   how every stream stands; nothing leaves before the centre has approved it

exit codes: 0 fine, 1 the asked-for thing is not so, 2 usage, 3 configuration, 4 unreachable, 5 refused
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Argument errors end with SystemExit(2)."""
    options = command_line().parse_args(arguments)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except AgentError as error:
        problems.report(error, sys.stderr)
        return problems.exit_code(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        # the reader has seen enough (`… | head`): nothing more can be written, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if options.debug:
            raise
        sys.stderr.write(f"error: {type(error).__name__}, which is unexpected; run with --debug for the trace\n")
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n  remedy: run `{self.prog} --help`\n")


def command_line() -> argparse.ArgumentParser:
    """The parser of every command."""
    everywhere = _Parser(add_help=False)
    parser = _Parser(
        prog="forebay-agent",
        description="Streams every committed change of a department's shared tables to the centre, exactly once.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"forebay-agent {version('forebay-agent')}")
    _add_common(parser, DEFAULT_CONFIG, False)
    # the same options after the command's name, where they must not undo what stood before it
    _add_common(everywhere, argparse.SUPPRESS, argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        added = commands.add_parser(
            command.__name__.rpartition(".")[2],
            parents=[everywhere],
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(added)
        added.set_defaults(command=command.run)
    return parser


def _add_common(parser: argparse.ArgumentParser, config: Path | str, debug: bool | str) -> None:
    parser.add_argument(
        "--config",
        metavar="FOLDER",
        type=Path,
        default=config,
        help=f"where agent.toml and sources.d/ stand (default: {DEFAULT_CONFIG})",
    )
    parser.add_argument("--debug", action="store_true", default=debug, help="show the trace of an unexpected error")
