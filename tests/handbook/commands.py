"""docs/reference/commands.md: what every command says of itself, from the very parsers that read the command line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from typing import Final
from unittest import mock

from forebay_agent.cli.main import command_line as of_agent
from forebay_collector.cli.main import COMMANDS
from forebay_collector.cli.main import command_line as of_collector

_COLUMNS: Final = "120"
_HEAD: Final = """\
# Commands

What `--help` says, of every command. This page is written from the programs' own parsers (`make reference`), and a test compares them.
"""
_EXITS: Final = """
Exit codes, everywhere: 0 fine, 1 the asked-for thing is not so, 2 usage, 3 configuration, 4 unreachable, 5 refused, 130 interrupted.
Every listing has `--json`.
"""


def text() -> str:
    # as wide everywhere, and with nobody's own data folder as the default
    with mock.patch.dict(os.environ, {"COLUMNS": _COLUMNS}):
        os.environ.pop("FOREBAY_DATA", None)
        collector = [section for name in COMMANDS for section in _sections(of_collector([name])[0], only=name)]
        agent = of_agent()
        return "".join(
            (
                _HEAD,
                _EXITS,
                "\n## forebay-agent\n",
                _help(agent),
                *_sections(agent),
                "\n## forebay-collector\n",
                _help(of_collector([])[0]),
                *collector,
            )
        )


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands right below this one; none where there are none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _sections(parser: argparse.ArgumentParser, depth: int = 3, only: str = "") -> Iterator[str]:
    for name, command in commands_of(parser).items():
        if only in ("", name):
            yield f"\n{'#' * depth} {command.prog}\n{_help(command)}"
            yield from _sections(command, depth + 1)


def _help(parser: argparse.ArgumentParser) -> str:
    said = parser.format_help().rstrip()
    # said once, at the top
    said = re.sub(r"\n+exit codes: 0 fine, 1 the asked-for thing is not so[^\n]*$", "", said)
    return f"\n```text\n{said}\n```\n"
