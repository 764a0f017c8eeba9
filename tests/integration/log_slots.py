"""What tests ask of the slot behind a log of PostgreSQL, and of a reader that cannot go on."""

from __future__ import annotations

import pytest

from forebay_agent import errors
from forebay_agent.capture.postgresql.log.checkpoint import lsn_of
from forebay_agent.policy import Reaction, policy_of, remedy_of
from tests.integration.log_of_postgresql import Log

T = "CREATE TABLE t (id int PRIMARY KEY, v text)"
LSN = r"[0-9A-F]+/[0-9A-F]+"
GAP = f"gap from {LSN} to {LSN}"


def slot_of(log: Log) -> str:
    return str(log.config["slot"])


def confirmed(log: Log) -> int:
    query = f"SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{slot_of(log)}'"
    return lsn_of(str(log.harness.rows(query)[0][0]))


def lost_while_reading(log: Log) -> errors.AgentError:
    """What the reader says of its connection's end."""
    with pytest.raises(errors.AgentError) as raised:  # noqa: PT012 - one of the reads
        for _ in range(200):
            log.read()
    return raised.value


def assert_gap(log: Log, match: str) -> None:
    """Opening says so, and says the same however often it is asked; a person has to act, and is told how."""
    for _ in range(2):
        with pytest.raises(errors.LogGap, match=match) as raised:
            log.again()
        assert policy_of(raised.value).reaction is Reaction.HOLD
        assert "forebay-agent snapshot" in remedy_of(raised.value)


def assert_begins_anew(log: Log) -> None:
    """Taken anew, the table is followed again from now on."""
    log.reader = log.source.open_log(log.followed(), None)
    log.harness.execute("INSERT INTO t VALUES (-1, 'anew')")
    assert log.changes() == [("c", -1, "anew")]
