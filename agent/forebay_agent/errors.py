"""Every kind of trouble the agent knows. `code` is stable; what to do about each kind stands in `policy.py`.

An error says what, where and why in its message; the class docstring is the default message. No message ever holds a
secret or a row's value that is masked. Dialects classify by SQLSTATE, errno or vendor number, never by message text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class AgentError(Exception):
    """Something the agent has no name for went wrong."""

    code: ClassVar[str] = "FB-AGENT"

    def __init__(self, message: str = "", *, remedy: str = "", sql: str = "") -> None:
        """`remedy`: this very case's remedy, where it is better than the kind's own. `sql`: what a DBA should run."""
        super().__init__(message or type(self).__doc__)
        self.remedy = remedy
        self.sql = sql


class ConfigurationError(AgentError):
    """The configuration cannot be used. Carries `file` and `key`; `problems` is all that is wrong, this one first."""

    code = "FB-CONFIG"

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        key: str = "",
        remedy: str = "",
        also: Sequence[ConfigurationError] = (),
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.file = file
        self.key = key
        self.problems: tuple[ConfigurationError, ...] = (self, *also)

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.key) if part)
        return f"{place}: {super().__str__()}" if place else super().__str__()


class TableMisconfigured(ConfigurationError):
    """A table's entry in the configuration does not fit the table as the database describes it."""

    code = "FB-TABLE-CONFIG"


class ColumnMissing(TableMisconfigured):
    """A configured column is not in the table."""

    code = "FB-TABLE-COLUMN"


class SourceUnreachable(AgentError):
    """The database cannot be reached."""

    code = "FB-SOURCE-UNREACHABLE"


class SourceDenied(AgentError):
    """The database refuses the user or the password."""

    code = "FB-SOURCE-DENIED"


class PrivilegeMissing(AgentError):
    """The database user lacks a privilege."""

    code = "FB-SOURCE-PRIVILEGE"


class TableMissing(AgentError):
    """The table is not in the database."""

    code = "FB-TABLE-MISSING"


class TableReplaced(AgentError):
    """The table was dropped and created again: it is not the one that was captured so far."""

    code = "FB-TABLE-REPLACED"


class SourceReplaced(TableReplaced):
    """The database is another server than the one that was captured so far."""

    code = "FB-SOURCE-REPLACED"


class TableChanged(AgentError):
    """The table's columns changed in a way that its stream cannot follow."""

    code = "FB-TABLE-CHANGED"


class KeyMissing(AgentError):
    """The table has no primary key and none is configured."""

    code = "FB-TABLE-KEY"


class TriggerMissing(AgentError):
    """The change table or its triggers are not installed."""

    code = "FB-TRIGGER-MISSING"


class LogGap(AgentError):
    """The database's log no longer holds what was not captured yet."""

    code = "FB-LOG-GAP"


class LogUnfit(AgentError):
    """The database does not write its log in a way that changes can be captured from."""

    code = "FB-LOG-UNFIT"


class LogUnreadable(AgentError):
    """The log holds something that cannot be understood: nothing of it is guessed."""

    code = "FB-LOG-UNREADABLE"


class ValueUnrepresentable(AgentError):
    """A value cannot be carried exactly in its column's type."""

    code = "FB-VALUE-UNREPRESENTABLE"


class StatementTimeout(AgentError):
    """The database cancelled a statement that ran for too long."""

    code = "FB-SOURCE-TIMEOUT"


class SourceError(AgentError):
    """The database refuses a statement for a reason of its own."""

    code = "FB-SOURCE"


class OutboxFull(AgentError):
    """The outbox has reached its cap, or the disk its reserve: capture waits."""

    code = "FB-OUTBOX-FULL"


class OutboxDamaged(AgentError):
    """The outbox's file is damaged."""

    code = "FB-OUTBOX-DAMAGED"


class StateFolderUnusable(AgentError):
    """The state folder cannot be written."""

    code = "FB-STATE"


class StateLost(AgentError):
    """The collector holds more of this stream than this agent has ever sent: the agent's state was lost."""

    code = "FB-STATE-LOST"


class CollectorBehind(AgentError):
    """The collector holds less of this stream than it has confirmed to this agent: the collector's state was lost."""

    code = "FB-COLLECTOR-BEHIND"


class CollectorUnreachable(AgentError):
    """No collector can be reached."""

    code = "FB-COLLECTOR-UNREACHABLE"


class CertificateRefused(AgentError):
    """A certificate is missing, expired or not accepted."""

    code = "FB-CERTIFICATE"


class StreamUnknown(AgentError):
    """This agent knows no such stream."""

    code = "FB-STREAM-UNKNOWN"


class CommandTimeout(AgentError):
    """A command could not be finished in its time."""

    code = "FB-COMMAND-TIMEOUT"


class NotApproved(AgentError):
    """The centre has not approved that this leaves the department."""

    code = "FB-NOT-APPROVED"


class CommandUnknown(AgentError):
    """This agent does not know the command."""

    code = "FB-COMMAND-UNKNOWN"


class CommandUnfit(AgentError):
    """The command cannot be carried out as it is put."""

    code = "FB-COMMAND-UNFIT"


class OutsideWindow(AgentError):
    """The source is read within its daily time only."""

    code = "FB-OUTSIDE-WINDOW"


class StreamPaused(AgentError):
    """The stream is paused: nothing of it is captured."""

    code = "FB-PAUSED"


class OfferRefused(AgentError):
    """What the centre offers would widen what leaves, is not the centre's to set, or cannot be used."""

    code = "FB-OFFER-REFUSED"


class BatchRefused(AgentError):
    """The collector refuses a batch."""

    code = "FB-BATCH-REFUSED"


class FerryUnusable(AgentError):
    """A file that carries batches or answers on a disk cannot be written, or cannot be used."""

    code = "FB-FERRY"
