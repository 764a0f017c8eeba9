"""`forebay-agent check`: everything that capture and sending need, each with its remedy and the SQL for the DBA."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from forebay_agent.cli import listing, problems

if TYPE_CHECKING:
    from forebay_agent.check.checked import Checked

SUMMARY: Final = "say what is missing, with remedies and SQL"
DESCRIPTION: Final = """\
Looks at the configuration, the state folder, this appliance's certificate, the way to the collector, and at every source
and table: privileges, key, columns carried as text, index on the cursor column, clock, estimated rows, triggers. Changes
nothing anywhere. Works before enrolment too."""
EXAMPLES: Final = """\
examples:
  forebay-agent check                    everything
  forebay-agent check civil              one source alone
  forebay-agent check --sql > dba.sql    only the SQL that a DBA should run
  forebay-agent check --json | jq '.[] | select(.severity == "error")'

exit codes: 0 nothing is in the way, 1 a table cannot be captured as it is, 3 configuration, 4 unreachable
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", default="", help="only this source")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print JSON")
    how.add_argument("--sql", action="store_true", help="print only the SQL that a DBA should run")


def run(options: argparse.Namespace) -> int:
    from forebay_agent import owner
    from forebay_agent.check.checked import exit_code
    from forebay_agent.check.everything import check_everything
    from forebay_agent.config.kept_offer import load_effective
    from forebay_agent.config.load import load_agent

    # what the daemon may not read or write must not look right because root looked
    owner.become(load_agent(options.config).state)
    config = load_effective(options.config).config
    if not problems.knows_source(config, options.source, sys.stderr):
        return 1
    found = []
    for checked in check_everything(config, options.source):
        found.append(checked)
        if not options.json and not options.sql:
            sys.stdout.write("\n".join(problems.finding(checked)) + "\n")
            sys.stdout.flush()
    code = exit_code({checked.exit_code for checked in found})
    if options.json:
        listing.print_json([checked.as_row() for checked in found], sys.stdout)
    elif options.sql:
        for statement in dict.fromkeys(checked.sql.rstrip("; \n") for checked in found if checked.sql):
            print(f"{statement};")
    else:
        print(_summary(found))
    return code


def _summary(found: list[Checked]) -> str:
    def counted(severity: str) -> str:
        count = sum(1 for checked in found if checked.severity == severity)
        return f"{count} {severity}{'' if count == 1 else 's'}"

    if not any(checked.exit_code for checked in found):
        return f"nothing is in the way; {counted('warning')}"
    return f"{counted('error')}, {counted('warning')}"
