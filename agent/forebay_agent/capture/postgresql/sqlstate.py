"""SQLSTATE -> the agent's kinds of trouble. Never by a message's text, which is in the server's language.

Data exceptions (class 22) and violated constraints (class 23) quote values in their messages: those are left out.
"""

from __future__ import annotations

from typing import Final

import psycopg

from forebay_agent import errors

_KINDS: Final[dict[str, type[errors.AgentError]]] = {
    "28": errors.SourceDenied,
    "3D": errors.SourceUnreachable,
    "3F": errors.TableMissing,
    "08": errors.SourceUnreachable,
    "53": errors.SourceUnreachable,  # too many connections, out of memory, disk full
    "58": errors.SourceUnreachable,
    "42501": errors.PrivilegeMissing,
    "42P01": errors.TableMissing,
    "42703": errors.ColumnMissing,
    "57014": errors.StatementTimeout,
    "55P03": errors.StatementTimeout,
    "57P01": errors.SourceUnreachable,
    "57P02": errors.SourceUnreachable,
    "57P03": errors.SourceUnreachable,
    "57P05": errors.SourceUnreachable,
    "22P05": errors.ValueUnrepresentable,  # a character that UTF-8 does not have
    "22021": errors.ValueUnrepresentable,  # bytes that are not of the declared encoding
}
_REMEDIES: Final = {
    "3D000": "Correct `database` in the source's file.",
    "22021": "The text is not of the encoding that the database declares: correct it there, or set `charset`.",
    "53300": "Raise `max_connections` of the database, or close sessions.",
}
_QUOTES_VALUES: Final = ("22", "23")


def kind_of(sqlstate: str) -> type[errors.AgentError]:
    return _KINDS.get(sqlstate) or _KINDS.get(sqlstate[:2]) or errors.SourceError


def trouble(error: psycopg.Error, what: str) -> errors.AgentError:
    """The agent's error for one of psycopg's. `what`: what was being done, to begin the message with."""
    state = error.sqlstate or ""
    if state:
        return refusal(state, error.diag.message_primary or "", what)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return errors.SourceUnreachable(f"{what}: the connection was lost ({_first_line(str(error))})")
    return errors.SourceError(f"{what}: {type(error).__name__}: {_first_line(str(error))}")


def refusal(sqlstate: str, message: str, what: str) -> errors.AgentError:
    if sqlstate[:2] in _QUOTES_VALUES:
        message = _condition(sqlstate)
    text = f"{what}: {_first_line(message)} (SQLSTATE {sqlstate})"
    return kind_of(sqlstate)(text, remedy=_REMEDIES.get(sqlstate, ""))


def _condition(sqlstate: str) -> str:
    try:
        return psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        return "data exception"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
