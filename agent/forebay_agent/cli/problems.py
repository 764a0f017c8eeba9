"""Errors as people read them: what, why, remedy and, where there is some, the SQL that a DBA should run.

error: /etc/forebay-agent/sources.d/civil.toml: table[1].masks.ID_NO
  why:    there is no mask 'citizen'; did you mean `citizen_id`?
  remedy: Use one of: citizen_id, name, mobile, …
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from forebay_agent.config.model import AgentConfig
from forebay_agent.errors import AgentError, ConfigurationError
from forebay_agent.policy import policy_of, remedy_of

if TYPE_CHECKING:
    from forebay_agent.check.checked import Checked


def exit_code(error: AgentError) -> int:
    return policy_of(error).exit_code


def headline(error: AgentError) -> str:
    """The kind of error in one sentence, without its full stop."""
    return (inspect.getdoc(type(error)) or type(error).__name__).partition(".")[0]


def told(error: AgentError) -> int:
    """Writes an error to standard error. -> exit code."""
    report(error, sys.stderr)
    return exit_code(error)


def report(error: AgentError, out: TextIO) -> None:
    """Writes an error, and all the others that were found together with it."""
    problems: tuple[AgentError, ...] = error.problems if isinstance(error, ConfigurationError) else (error,)
    for problem in problems:
        for line in lines(problem):
            out.write(line + "\n")
    if len(problems) > 1:
        out.write(f"{len(problems)} problems\n")


def lines(error: AgentError) -> Iterator[str]:
    """`error: …`, then its indented why, remedy and SQL."""
    message = error.args[0]
    place = ""
    if isinstance(error, ConfigurationError):
        place = ": ".join(part for part in (error.file, error.key) if part)
    yield f"error: {place or headline(error)}"
    if message != (inspect.getdoc(type(error)) or ""):
        yield from indented("why:", message)
    yield from indented("remedy:", remedy_of(error))
    if error.sql:
        yield from indented("SQL:", error.sql)


def finding(checked: Checked) -> Iterator[str]:
    """One thing that `check` or `doctor` looked at: severity and place, then where it is configured, remedy and SQL."""
    yield visible(f"{checked.severity:<7}  {checked.place}: {checked.subject}: {checked.message}")
    configured = ": ".join(part for part in (checked.file, checked.key) if part)
    for label, text in (("where:", configured), ("remedy:", checked.remedy), ("SQL:", checked.sql)):
        if text:
            yield from (" " * 7 + line for line in indented(label, text))


def indented(label: str, text: str) -> Iterator[str]:
    """The text after a label, every further line under the first; control characters made visible."""
    for number, line in enumerate(text.splitlines() or [""]):
        yield f"  {label if number == 0 else '':<8}{visible(line)}"


def visible(text: str) -> str:
    """The text on one line: what a terminal would act on is shown as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def knows_source(config: AgentConfig, name: str, out: TextIO) -> bool:
    """Whether a source of that name is configured (empty: any); says so when it is not."""
    names = [source.name for source in config.sources]
    if name in ("", *names):
        return True
    out.write(f"error: there is no source {name!r}\n  remedy: name one of: {', '.join(names) or 'none yet'}\n")
    return False


def never_run(state: Path, out: TextIO) -> int:
    """Says that there is nothing in the state folder yet. -> exit code."""
    out.write(
        f"error: the agent has not run with state folder {state} yet\n"
        "  remedy: start it (`systemctl start forebay-agent`), or name its folder with --config\n"
    )
    return 1
