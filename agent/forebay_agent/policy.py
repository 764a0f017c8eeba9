"""What to do about each kind of trouble: how the capture goes on, and the sentence that an operator can act on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from forebay_agent import errors

ANY_STREAM: Final = "STREAM"
"""in a remedy's commands: the stream whose trouble it is"""

TAKE_ANEW: Final = f"forebay-agent snapshot {ANY_STREAM} --reason …"


class Reaction(Enum):
    """What the agent does by itself."""

    RETRY = "retry"  # again after a growing pause
    HOLD = "hold"  # this stream waits for a person; looked at again at a slow pace
    STOP = "stop"  # the process ends with the reason


@dataclass(frozen=True, slots=True)
class Policy:
    reaction: Reaction
    exit_code: int  # of a command that ends with it: 1 not so, 3 configuration, 4 unreachable, 5 refused
    remedy: str


POLICIES: Final[dict[type[errors.AgentError], Policy]] = {
    errors.AgentError: Policy(Reaction.HOLD, 1, "Report this with the output of `forebay-agent status --json`."),
    errors.ConfigurationError: Policy(Reaction.STOP, 3, "Correct the key named and run `forebay-agent check`."),
    errors.TableMisconfigured: Policy(
        Reaction.HOLD, 3, "Correct the key named in the table's entry and run `forebay-agent check`."
    ),
    errors.SourceUnreachable: Policy(
        Reaction.RETRY, 4, "Check address and port, that the database runs, and the firewall between."
    ),
    errors.SourceDenied: Policy(
        Reaction.RETRY, 4, "Check user and password file of the source; ask the DBA to unlock the account."
    ),
    errors.PrivilegeMissing: Policy(
        Reaction.HOLD, 4, "Ask the DBA to run the GRANT that `forebay-agent check` prints."
    ),
    errors.TableMissing: Policy(Reaction.HOLD, 3, "Correct the table's name, or remove it from the source's file."),
    errors.TableReplaced: Policy(
        Reaction.HOLD, 1, "If it is meant, start the stream anew: `forebay-agent reset STREAM --reason …`."
    ),
    errors.SourceReplaced: Policy(
        Reaction.HOLD,
        1,
        "Point the source back at its server: nothing is lost. If this server holds the data now, take the table anew: "
        "`forebay-agent snapshot STREAM --reason …`.",
    ),
    errors.TableChanged: Policy(
        Reaction.HOLD, 1, "Undo the change, or start the stream anew: `forebay-agent reset STREAM --reason …`."
    ),
    errors.KeyMissing: Policy(
        Reaction.HOLD, 3, "Add a primary key, or name unique columns with `key = [...]` in the table's entry."
    ),
    errors.ColumnMissing: Policy(Reaction.HOLD, 3, "Correct the column's name in the table's entry."),
    errors.TriggerMissing: Policy(
        Reaction.HOLD, 3, "Run the SQL that `forebay-agent tables` prints, or set `install = true`."
    ),
    errors.LogGap: Policy(
        Reaction.HOLD, 1, "Take the tables anew: `forebay-agent snapshot STREAM --reason …`; keep the log for longer."
    ),
    errors.LogUnfit: Policy(Reaction.HOLD, 4, "Ask the DBA to run the SQL that `forebay-agent check` prints."),
    errors.LogUnreadable: Policy(
        Reaction.HOLD, 1, "Report the position; then take the tables anew: `forebay-agent snapshot STREAM --reason …`."
    ),
    errors.ValueUnrepresentable: Policy(
        Reaction.HOLD, 1, "Carry the column as text: add it to `as_text` and reset the stream, or correct the value."
    ),
    errors.StatementTimeout: Policy(
        Reaction.RETRY, 4, "Raise `statement_timeout` of the source, or give the cursor column an index."
    ),
    errors.SourceError: Policy(Reaction.RETRY, 4, "Read the database's reason above."),
    errors.OutboxFull: Policy(
        Reaction.RETRY, 1, "Restore the way to the collector, or give the outbox more room (`[outbox] cap`)."
    ),
    errors.OutboxDamaged: Policy(
        Reaction.STOP,
        1,
        "Keep the file. Restore the state folder from a copy, or move it away, start, and `reset` the streams.",
    ),
    errors.StateFolderUnusable: Policy(
        Reaction.STOP,
        3,
        "Give the agent's user write access to the state folder (`[agent] state` in agent.toml), or free disk space.",
    ),
    errors.StateLost: Policy(
        Reaction.HOLD,
        1,
        "Restore the agent's state folder, or start the stream anew: `forebay-agent reset STREAM --reason …`.",
    ),
    errors.CollectorBehind: Policy(
        Reaction.HOLD,
        5,
        "Restore the collector's newest ledger and archive, or start the stream anew: "
        "`forebay-agent reset STREAM --reason …`.",
    ),
    errors.CollectorUnreachable: Policy(
        Reaction.RETRY, 4, "Check `[collector] addresses`, the firewall, and that the collector runs."
    ),
    errors.CertificateRefused: Policy(
        Reaction.RETRY, 4, "Enrol again with a new token: `forebay-agent enroll TOKENFILE`."
    ),
    errors.StreamUnknown: Policy(Reaction.HOLD, 1, "`forebay-agent status` lists the streams."),
    errors.CommandTimeout: Policy(
        Reaction.RETRY, 1, "Give it more time; `forebay-agent status` says what it waits for."
    ),
    errors.NotApproved: Policy(
        Reaction.RETRY, 5, "Ask the centre to approve it (`forebay-collector approvals`); it then goes on by itself."
    ),
    errors.CommandUnknown: Policy(Reaction.HOLD, 1, "Install a newer forebay-agent."),
    errors.CommandUnfit: Policy(Reaction.HOLD, 1, "Put the command as the reason says."),
    errors.OutsideWindow: Policy(
        Reaction.RETRY, 1, "Ask again within the source's daily time, or have the department widen `snapshot_windows`."
    ),
    errors.StreamPaused: Policy(
        Reaction.HOLD, 1, "Resume what is paused, or take `paused` out of the department's file; then ask again."
    ),
    errors.OfferRefused: Policy(
        Reaction.HOLD, 5, "Offer only what tunes or tightens the department's own files: `docs/offers.md`."
    ),
    errors.BatchRefused: Policy(
        Reaction.HOLD, 5, "Read the collector's reason; `forebay-collector batches --stream STREAM` shows its side."
    ),
    errors.FerryUnusable: Policy(
        Reaction.HOLD, 1, "Nothing was taken from it. Carry it again from where it was made, or make it anew."
    ),
}


def policy_of(error: errors.AgentError) -> Policy:
    """The policy of the error's kind, or of the nearest kind that it is derived from."""
    for kind in type(error).__mro__:
        if kind in POLICIES:
            return POLICIES[kind]
    return POLICIES[errors.AgentError]


def remedy_of(error: errors.AgentError) -> str:
    return error.remedy or policy_of(error).remedy
