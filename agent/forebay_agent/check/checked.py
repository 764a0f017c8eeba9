"""Checked: one thing that `check` looked at, and what it means for the command's exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from forebay_agent.capture.source import Finding, Severity
from forebay_agent.errors import AgentError, ConfigurationError
from forebay_agent.policy import policy_of, remedy_of


@dataclass(frozen=True, slots=True)
class Checked:
    """place: what was looked at (`state`, `collector`, a source, `source/table`). file, key: where it is configured.

    code: the error's, where it was one. exit_code: what the command ends with because of this one; 0 when all is well.
    """

    place: str
    severity: Severity
    subject: str
    message: str
    remedy: str = ""
    sql: str = ""
    file: str = ""
    key: str = ""
    code: str = ""
    exit_code: int = 0

    @classmethod
    def fine(cls, place: str, subject: str, message: str) -> Checked:
        return cls(place, Severity.OK, subject, message)

    @classmethod
    def of_finding(cls, place: str, finding: Finding, *, file: str = "", key: str = "") -> Checked:
        """What a dialect says of a table."""
        failed = finding.severity is Severity.ERROR
        return cls(
            place,
            finding.severity,
            finding.subject,
            finding.message,
            finding.remedy,
            finding.sql,
            file if finding.severity not in (Severity.OK, Severity.NOTE) else "",
            key if finding.severity not in (Severity.OK, Severity.NOTE) else "",
            exit_code=1 if failed else 0,
        )

    @classmethod
    def of_error(cls, place: str, subject: str, error: AgentError, *, file: str = "", key: str = "") -> Checked:
        """`file` and `key`: where it is configured, unless the error itself says so."""
        message = str(error.args[0])
        if isinstance(error, ConfigurationError):
            file, key = error.file or file, error.key if error.file else key
        return cls(
            place,
            Severity.ERROR,
            subject,
            message,
            remedy_of(error),
            error.sql,
            file,
            key,
            error.code,
            policy_of(error).exit_code,
        )

    def as_row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def exit_code(codes: set[int]) -> int:
    """Configuration (3) first, since it may be why something is unreachable (4); then refused (5), then not so (1)."""
    return next((code for code in (3, 4, 5, 1) if code in codes), 0)
