"""`forebay-agent tables`: what would be captured, column by column, and the exact SQL that reads it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from forebay_agent.cli import listing, problems
from forebay_agent.errors import AgentError

if TYPE_CHECKING:
    from forebay_agent.check.plan import TablePlan
    from forebay_agent.config.kept_offer import Effective
    from forebay_agent.config.model import AgentConfig

SUMMARY: Final = "show what would be captured, and the exact SQL"
DESCRIPTION: Final = """\
Shows for every configured table its stream, mode and what that mode guarantees, its key, every column with its type in
the database and how it is carried, which columns are masked and which never leave the database, the exact SQL that the
agent sends, and which privileges it needs. What the centre offered and is in force is laid over the files, and named.
Changes nothing."""
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
    from forebay_agent.check.checked import exit_code
    from forebay_agent.check.plan import plans
    from forebay_agent.config.kept_offer import load_effective

    effective = load_effective(options.config)
    config = effective.config
    if not problems.knows_source(config, options.source, sys.stderr):
        return 1
    codes = set()
    found: list[dict[str, Any]] = []
    if not options.json:
        sys.stdout.write("".join(f"{line}\n" for line in _about_offer(effective)))
    for plan in plans(config, _department(config), options.source, effective.offer):
        if plan.error is not None:
            codes.add(problems.exit_code(plan.error))
        if options.json:
            found.append(plan.as_row())
        else:
            sys.stdout.write("\n".join(_lines(plan)) + "\n\n")
    if options.json:
        listing.print_json(found, sys.stdout)
    elif not config.sources:
        print("no sources: put one file per database into sources.d/")
    return exit_code(codes)


def _about_offer(effective: Effective) -> Iterator[str]:
    if effective.refusal:
        yield "the centre's offer does not fit these files, so the files alone hold:"
        yield from (f"  {problems.visible(line)}" for line in effective.refusal.splitlines())
        yield ""
    elif effective.offer is not None and effective.offer.settings:
        yield f"revision {effective.offer.revision} of the centre's offers is laid over the files"
        yield ""


def _lines(plan: TablePlan) -> Iterator[str]:
    yield plan.stream
    if plan.error is not None:
        yield from (f"  {line}" for line in problems.lines(plan.error))
        return
    yield f"  mode       {plan.mode}: {plan.guarantee}"
    yield f"  priority   {plan.priority}{', PAUSED: not captured for now' if plan.paused else ''}"
    for number, path in enumerate(plan.offered):
        yield f"  {'offered' if number == 0 else '':<10} {problems.visible(path)}"
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
        for number, line in enumerate(line for statement in statements for line in f"{statement};".splitlines()):
            yield f"  {label if number == 0 else '':<10} {problems.visible(line)}"
    for number, privilege in enumerate(plan.privileges):
        yield f"  {'privileges' if number == 0 else '':<10} {problems.visible(privilege)}"


def _department(config: AgentConfig) -> str:
    """Empty as long as the appliance is not enrolled."""
    from forebay_agent import identity

    try:
        return identity.load(config.state).department
    except AgentError:
        return ""
