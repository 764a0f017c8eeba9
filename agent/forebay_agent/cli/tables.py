"""`forebay-agent tables`: what would be captured, column by column, and the exact SQL that reads it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from forebay_agent.cli import listing, problems

if TYPE_CHECKING:
    from forebay_agent.check.plan import TablePlan

SUMMARY: Final = "show what would be captured, and the exact SQL"
DESCRIPTION: Final = """\
Shows for every configured table its stream, mode and what that mode guarantees, its key, every column with its type in
the database and how it is carried, which columns are masked and which never leave the database, and the exact SQL that
the agent sends. Reads descriptions only, no rows."""
EXAMPLES: Final = """\
examples:
  forebay-agent tables                   all of it, to be shown to the DBA
  forebay-agent tables civil             the tables of one source
  forebay-agent tables --json | jq -r '.[] | .sql[]'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", default="", help="only this source")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    from forebay_agent.check.plan import plans
    from forebay_agent.config.load import load

    config = load(options.config)
    names = [source.name for source in config.sources]
    if options.source and options.source not in names:
        sys.stderr.write(
            f"error: there is no source {options.source!r}\n  remedy: name one of: {', '.join(names) or 'none yet'}\n"
        )
        return 1
    code = 0
    found: list[dict[str, Any]] = []
    for plan in plans(config, options.source):
        if plan.error is not None:
            code = max(code, problems.exit_code(plan.error))
        if options.json:
            found.append(plan.as_row())
        else:
            sys.stdout.write("\n".join(_lines(plan)) + "\n\n")
    if options.json:
        listing.print_json(found, sys.stdout)
    elif not names:
        print("no sources: put one file per database into sources.d/")
    return code


def _lines(plan: TablePlan) -> Iterator[str]:
    yield plan.stream
    if plan.error is not None:
        yield from (f"  {line}" for line in problems.lines(plan.error))
        return
    yield f"  mode       {plan.mode}: {plan.guarantee}"
    yield f"  key        {', '.join(plan.key) or 'none: only the history of changes is kept'}"
    width = max(listing.width(column.name) for column in plan.columns)
    for number, column in enumerate(plan.columns):
        label = "columns" if number == 0 else ""
        space = " " * (width - listing.width(column.name))
        notes = "".join(
            note
            for note in (
                ", carried as text" if column.carried == "text" else "",
                f", masked as {column.mask}" if column.mask else "",
            )
        )
        yield f"  {label:<9}  {problems.visible(column.name)}{space}  {column.origin}{notes}"
    yield f"  left out   {', '.join(problems.visible(name) for name in plan.excluded) or 'nothing: every column is shared'}"
    for label, statements in (("SQL", plan.sql), ("to install", plan.install)):
        for number, statement in enumerate(statements):
            for line_number, line in enumerate(statement.splitlines()):
                head = label if number == 0 and line_number == 0 else ""
                yield f"  {head:<10} {line}"
    for finding in plan.privileges:
        yield from (
            (f"  {line}" for line in problems.indented("rights:", finding)) if False else (f"  privilege  {finding}",)
        )
