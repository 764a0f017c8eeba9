"""`forebay-agent doctor`: explains what is wrong with an installation, and what to do about it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay_agent.cli import listing, problems, service

if TYPE_CHECKING:
    from forebay_agent.check.checked import Checked

SUMMARY: Final = "explain what is wrong here, with remedies"
DESCRIPTION: Final = """\
Looks at the service, the rights on files, the clock, the kept state (the whole outbox is read), the configuration, and at
everything that `check` looks at. Shows only what is in the way or worth a word, the cause before its effects where that can
be told. Changes nothing. As root it looks with the agent's own rights."""
EXAMPLES: Final = """\
examples:
  forebay-agent doctor
  forebay-agent doctor --json | jq -r '.[] | select(.severity == "error") | .remedy'

exit codes: 0 nothing is in the way, 1 something is, 3 configuration, 4 unreachable, 5 refused
"""
_PROPERTIES: Final = ("ActiveState", "SubState", "Result", "NRestarts", "StatusText")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, what is fine too")


def run(options: argparse.Namespace) -> int:
    from forebay_agent.check.checked import exit_code

    found = list(everything(options.config))
    if options.json:
        listing.print_json([checked.as_row() for checked in found], sys.stdout)
    else:
        wrong = [checked for checked in found if checked.severity in ("warning", "error")]
        for checked in wrong:
            sys.stdout.write("\n".join(problems.finding(checked)) + "\n")
        print(f"{len(found)} things looked at; {len(wrong) or 'none'} in the way or worth a word")
    return exit_code({checked.exit_code for checked in found})


def everything(folder: Path) -> Iterator[Checked]:
    """All that is looked at. Of root's rights nothing is left afterwards (`owner.become`)."""
    from forebay_agent import owner
    from forebay_agent.check.checked import Checked
    from forebay_agent.check.everything import check_everything
    from forebay_agent.check.installation import (
        check_clock,
        check_enrolment,
        check_kept,
        check_ownership,
        check_service,
        readable,
    )
    from forebay_agent.config.kept_offer import load_effective
    from forebay_agent.config.load import load_agent
    from forebay_agent.errors import AgentError, ConfigurationError, StateFolderUnusable

    yield from check_service(service.properties(*_PROPERTIES) if service.is_there() else {})
    try:
        state = load_agent(folder).state
        # as root: what belongs to others shows only to root
        yield from check_ownership(state)
        owner.become(state)
        yield from readable(folder if folder.is_dir() else folder.parent)
        yield from check_clock(state, time.time_ns() // 1000)
        yield from check_kept(state)
        yield from check_enrolment(state)
        yield from check_everything(load_effective(folder).config, "")
    except ConfigurationError as error:
        for problem in error.problems:
            yield Checked.of_error("configuration", "settings", problem)
    except AgentError as error:
        yield Checked.of_error("state", "folder", error)
    except OSError as error:
        # a folder above that may not be entered, a disk that gives no answer
        yield Checked.of_error("state", "folder", StateFolderUnusable(f"{error.filename}: {error.strerror}"))
