"""docs/reference/commands.md: what every command says of itself, from the very parsers that read the command line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest import mock

from forebay_agent.cli.main import command_line as of_agent
from forebay_collector.cli.main import COMMANDS
from forebay_collector.cli.main import command_line as of_collector

_COLUMNS: Final = "120"
HEAD: Final = """\
# Commands

[中文](zh-CN/commands.md)

What `--help` says, of every command. This page is written from the programs' own parsers (`make reference`), and a test compares them.
"""
EXITS: Final = """
Exit codes, everywhere: 0 fine, 1 the asked-for thing is not so, 2 usage, 3 configuration, 4 unreachable, 5 refused, 130 interrupted.
Every listing has `--json`.
"""
Program = tuple[argparse.ArgumentParser, list[tuple[int, argparse.ArgumentParser]]]
"""a program's parser, and its commands' in order, each with how deep its heading is"""


def text() -> str:
    with as_everywhere():
        parts = [HEAD, EXITS]
        for program, commands in programs():
            parts += [f"\n## {program.prog}\n", _help(program)]
            parts += [f"\n{'#' * depth} {command.prog}\n{_help(command)}" for depth, command in commands]
        return "".join(parts)


@contextmanager
def as_everywhere() -> Iterator[None]:
    """As wide everywhere, and with nobody's own data folder as the default."""
    with mock.patch.dict(os.environ, {"COLUMNS": _COLUMNS}):
        os.environ.pop("FOREBAY_DATA", None)
        yield


def programs() -> list[Program]:
    agent = of_agent()
    collector = [section for name in COMMANDS for section in _below(of_collector([name])[0], only=name)]
    return [(agent, list(_below(agent))), (of_collector([])[0], collector)]


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands right below this one; none where there are none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def said_once(text: str) -> str:
    """Without the exit codes of every command: they stand at the page's top."""
    return re.sub(r"\n*exit codes: 0 fine, 1 the asked-for thing is not so[^\n]*$", "", text.rstrip())


def _below(
    parser: argparse.ArgumentParser, depth: int = 3, only: str = ""
) -> Iterator[tuple[int, argparse.ArgumentParser]]:
    for name, command in commands_of(parser).items():
        if only in ("", name):
            yield depth, command
            yield from _below(command, depth + 1)


def _help(parser: argparse.ArgumentParser) -> str:
    return f"\n```text\n{said_once(parser.format_help())}\n```\n"
