"""docs/reference/zh-CN/commands.md, from the same parsers as the English page, with `zh_cn/commands.toml`.

argparse speaks English only, so a command is not shown as `--help` prints it: its usage line is, and below it stand description,
arguments and examples in Chinese. An example stays as it is; what is said beside it becomes its comment.
"""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Iterator
from typing import Final

from tests.handbook.chinese import Catalogue
from tests.handbook.commands import EXITS, HEAD, as_everywhere, programs, said_once

_BESIDE: Final = re.compile(r"^(\S.*?\s{2,})(\S.*)$")
_SHELL: Final = re.compile(r"^(forebay-|systemctl |ssh |tar )")
_NO_HELP: Final = "Every command has `-h` and `--help`; the tables leave them out."


def page(catalogue: Catalogue) -> str:
    with as_everywhere():
        parts = [catalogue.page(f"{HEAD}{EXITS}\n{_NO_HELP}\n")]
        for program, commands in programs():
            parts += [f"\n## {program.prog}\n", *_command(program, catalogue)]
            for depth, command in commands:
                parts += [f"\n{'#' * depth} {command.prog}\n", *_command(command, catalogue)]
        return "".join(parts)


def _command(parser: argparse.ArgumentParser, catalogue: Catalogue) -> Iterator[str]:
    yield f"\n```text\n{parser.format_usage().rstrip()}\n```\n"
    yield from _prose(parser.description or "", catalogue)
    yield from _table(("参数", "说明"), _arguments(parser, catalogue))
    yield from _table(("命令", "说明"), _commands(parser, catalogue))
    yield from _prose(said_once(parser.epilog or ""), catalogue)


def _prose(text: str, catalogue: Catalogue) -> Iterator[str]:
    """Paragraphs; and under a line that ends with a colon, the examples that are indented below it."""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.splitlines()
        examples = [line.removeprefix("  ") for line in lines if line.startswith("  ")]
        if not any(_SHELL.match(example) for example in examples):
            yield f"\n{catalogue.say(block)}\n" if block.strip() else ""
            continue
        if above := [line for line in lines if not line.startswith("  ")]:
            yield f"\n{catalogue.say(' '.join(above))}\n"
        yield "\n```text\n" + "".join(f"{_example(example, catalogue)}\n" for example in examples) + "```\n"


def _example(line: str, catalogue: Catalogue) -> str:
    beside = _BESIDE.match(line)
    return f"{beside[1]}# {catalogue.say(beside[2])}" if beside else line


def _arguments(parser: argparse.ArgumentParser, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        told = copy.copy(action)
        # of an argument that the program says nothing about, the name is what is translated
        told.help = catalogue.say(action.help or str(action.metavar or action.dest))
        yield f"`{formatter._format_action_invocation(action)}`", formatter._expand_help(told)


def _commands(parser: argparse.ArgumentParser, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield f"`{choice.dest}`", catalogue.say(choice.help or "")


def _table(heads: tuple[str, str], rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    lines = [f"| {name} | {what.replace('|', '&#124;')} |\n" for name, what in rows]
    if lines:
        yield f"\n| {' | '.join(heads)} |\n|---|---|\n{''.join(lines)}"
