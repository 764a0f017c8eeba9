"""The one place where errors become sentences and exit codes: `error`, `why`, `remedy`.

0 fine · 1 the asked-for thing is not so · 2 usage · 3 configuration · 4 unreachable · 5 refused · 130 interrupted.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final, TextIO

from forebay_collector.errors import CollectorError
from forebay_collector.platform.contract import PlatformError
from forebay_collector.policy import policy_of, remedy_of
from forebay_wire.errors import WireError

FINE: Final = 0
NOT_SO: Final = 1
USAGE: Final = 2
CONFIGURATION: Final = 3
UNREACHABLE: Final = 4
REFUSED: Final = 5
INTERRUPTED: Final = 130

_OS_REMEDIES: Final = {
    errno.EACCES: "Run the command as the collector's user, or give this user the access that is missing.",
    errno.EPERM: "Run the command as the collector's user, or give this user the access that is missing.",
    errno.ENOSPC: "Free space on the disk named.",
    errno.EROFS: "Mount the disk named for writing.",
    errno.ENOENT: "Check the path.",
    errno.EEXIST: "Choose another path, or remove the file that is there.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a person is told. `exit_code` is what the program ends with."""

    error: str
    why: str
    remedy: str
    exit_code: int

    def print(self, out: TextIO) -> None:
        out.write(f"error:  {self.error}\n")
        if self.why:
            out.write(f"why:    {self.why}\n")
        out.write(f"remedy: {self.remedy}\n")


def problem_of(error: Exception) -> Problem:
    """The problem that an error stands for; an error of no known kind is one too."""
    if isinstance(error, CollectorError):
        kind = (type(error).__doc__ or "").strip()
        why = "" if str(error) == kind else str(error)
        return Problem(f"{kind} ({error.code})", why, remedy_of(error), policy_of(error).exit_code)
    if isinstance(error, PlatformError):
        remedy = (
            "Correct the query, or what the platform refuses."
            if error.permanent
            else "Try again; check the platform's disk and service."
        )
        exit_code = NOT_SO if error.permanent else UNREACHABLE
        return Problem(f"The platform refuses. ({error.code})", str(error), remedy, exit_code)
    if isinstance(error, WireError):
        kind = (type(error).__doc__ or "").strip()
        return Problem(f"{kind} ({error.code})", str(error), "Check what was typed or received.", NOT_SO)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        remedy = _OS_REMEDIES.get(error.errno or 0, "Check the file or address named.")
        return Problem("The system refuses. (FB-SYSTEM)", f"{place}{error.strerror or error}", remedy, CONFIGURATION)
    return Problem(
        "Something the collector has no name for went wrong. (FB-COLLECTOR)",
        f"{type(error).__name__}: {error}",
        "Run the command again with --debug and report what it prints.",
        NOT_SO,
    )
