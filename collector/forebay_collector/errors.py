"""Every kind of trouble the collector knows. `code` is stable; what to do about each kind stands in `policy.py`.

An error says what, where and why in its message; the class docstring is the default message. No message ever holds a
secret or a row's value. Kinds are told apart by errno, SQLSTATE or SQLite's result code, never by message text.
What can be wrong with a batch itself stands in `forebay_wire.errors`, what a platform refuses in `platform.contract`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class CollectorError(Exception):
    """Something the collector has no name for went wrong."""

    code: ClassVar[str] = "FB-COLLECTOR"

    def __init__(self, message: str = "", *, remedy: str = "") -> None:
        """`remedy`: this very case's remedy, where it is better than the kind's own."""
        super().__init__(message or type(self).__doc__)
        self.remedy = remedy


class ConfigurationError(CollectorError):
    """The configuration cannot be used. Carries `file` and `key`."""

    code = "FB-CONFIG"

    def __init__(self, message: str, *, file: str = "", key: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.file = file
        self.key = key

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.key) if part)
        return f"{place}: {super().__str__()}" if place else super().__str__()


class DataFolderUnusable(CollectorError):
    """The data folder is missing or cannot be written."""

    code = "FB-DATA"


class DataFolderInUse(CollectorError):
    """Another collector works in this data folder."""

    code = "FB-DATA-IN-USE"


class AddressUnusable(CollectorError):
    """The listen address cannot be opened."""

    code = "FB-ADDRESS"


class LedgerUnavailable(CollectorError):
    """The ledger cannot be read or written now."""

    code = "FB-LEDGER"


class LedgerDamaged(CollectorError):
    """The ledger's file is damaged."""

    code = "FB-LEDGER-DAMAGED"


class LedgerRowDamaged(CollectorError):
    """What the ledger recorded of a batch was altered. Carries `at`, the (epoch, seq) of its row."""

    code = "FB-LEDGER-ROW"

    def __init__(self, message: str = "", *, at: tuple[int, int] = (0, 0), remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.at = at


class LedgerVersion(CollectorError):
    """The ledger was made by another version of the collector."""

    code = "FB-LEDGER-VERSION"


class MarkMoved(CollectorError):
    """Batches do not attach to the stream's mark in the ledger."""

    code = "FB-LEDGER-MARK"


class ArchiveFull(CollectorError):
    """The archive's disk is full."""

    code = "FB-ARCHIVE-FULL"


class ArchiveUnavailable(CollectorError):
    """The archive cannot be read or written now."""

    code = "FB-ARCHIVE"


class ArchiveDamaged(CollectorError):
    """A file of the archive is not what was archived. Carries `holds`, which whole batch it is instead, if it is one."""

    code = "FB-ARCHIVE-DAMAGED"

    def __init__(self, message: str = "", *, holds: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.holds = holds


class ArchiveMissing(CollectorError):
    """The archive does not hold the batch."""

    code = "FB-ARCHIVE-MISSING"


class NotKnown(CollectorError):
    """The ledger knows no such agent, stream or batch."""

    code = "FB-NOT-KNOWN"


class NotPossible(CollectorError):
    """What was asked for does not fit the present state."""

    code = "FB-NOT-POSSIBLE"


class FerryRefused(CollectorError):
    """A file that carries batches or answers on a disk cannot be used or written."""

    code = "FB-FERRY-REFUSED"


class NotPermitted(CollectorError):
    """The account does not have the right."""

    code = "FB-PERMISSION"


class LoginRefused(CollectorError):
    """Name or password is wrong."""

    code = "FB-LOGIN"


class LoginLocked(CollectorError):
    """Too many attempts to log in failed. Carries `wait_s`, the seconds until the next is heard."""

    code = "FB-LOGIN-LOCKED"

    def __init__(self, message: str = "", *, wait_s: float = 0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.wait_s = wait_s


class PasswordRefused(CollectorError):
    """The new password is too easy to guess."""

    code = "FB-PASSWORD"


class OidcRefused(CollectorError):
    """The log-in by the identity provider is not valid."""

    code = "FB-OIDC"


class OidcUnreachable(CollectorError):
    """The identity provider does not answer."""

    code = "FB-OIDC-UNREACHABLE"


class FormRefused(CollectorError):
    """The form was not made by this console for this browser, or has expired."""

    code = "FB-FORM"


class ApiTokenRefused(CollectorError):
    """The API token is not known, was revoked, or has expired."""

    code = "FB-API-TOKEN"


class RequestRefused(CollectorError):
    """The request does not fit the API's description. Carries `wrong`: part, name and reason of each thing that does not."""

    code = "FB-REQUEST"

    def __init__(self, message: str = "", *, wrong: Sequence[tuple[str, str, str]] = (), remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.wrong = wrong


class MethodRefused(CollectorError):
    """This address has no such method. Carries `allowed`, those that it has."""

    code = "FB-METHOD"

    def __init__(self, message: str = "", *, allowed: Sequence[str] = (), remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.allowed = allowed


class MediaRefused(CollectorError):
    """The body is not JSON by its `Content-Type`."""

    code = "FB-MEDIA"


class RequestTooLong(CollectorError):
    """The request's body is too long."""

    code = "FB-REQUEST-LONG"


class TooFast(CollectorError):
    """Requests come too often. Carries `wait_s`, the seconds until the next is heard."""

    code = "FB-PACE"

    def __init__(self, message: str = "", *, wait_s: float = 0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.wait_s = wait_s


class TokenRefused(CollectorError):
    """The token is not known, was used, or has expired."""

    code = "FB-TOKEN"

    def __init__(self, message: str = "", *, remedy: str = "", action: str = "enroll refused") -> None:
        """`action`: under which the audit has it (`identity/alarms.py`)."""
        super().__init__(message, remedy=remedy)
        self.action = action


class IdentityRefused(CollectorError):
    """The certificate does not allow this call."""

    code = "FB-IDENTITY"

    def __init__(self, message: str = "", *, remedy: str = "", action: str = "call refused") -> None:
        """`action`: under which the audit has it (`identity/alarms.py`)."""
        super().__init__(message, remedy=remedy)
        self.action = action


class AgentUnreachable(CollectorError):
    """The agent is not connected."""

    code = "FB-AGENT-UNREACHABLE"


class CommandFailed(CollectorError):
    """The agent could not do what it was asked."""

    code = "FB-COMMAND"


class LoadStalled(CollectorError):
    """The platform does not get what was received."""

    code = "FB-LOAD-STALLED"


class VerificationInterrupted(CollectorError):
    """The process that compared has ended."""

    code = "FB-VERIFY-INTERRUPTED"


class CertificateNotValid(CollectorError):
    """The certificate of completeness is not valid."""

    code = "FB-COMPLETENESS"


class BackupUnusable(CollectorError):
    """The backup is not one, or not whole."""

    code = "FB-BACKUP"


class NotSent(CollectorError):
    """A notification did not reach its channel."""

    code = "FB-NOT-SENT"


class ThreadDied(CollectorError):
    """A thread of the collector ended by itself."""

    code = "FB-THREAD"
