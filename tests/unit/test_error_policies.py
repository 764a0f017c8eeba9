"""Every kind of trouble has a stable code, a reaction and a remedy that an operator can carry out to the letter."""

from __future__ import annotations

import importlib
import re
import shlex

import pytest

from forebay_agent import errors
from forebay_agent.capture.captured import Checkpoint
from forebay_agent.errors import AgentError
from forebay_agent.log.stream import PARKED, error_of, parking
from forebay_agent.policy import POLICIES, Reaction, policy_of, remedy_of
from forebay_agent.stream_state import Board, Trouble
from forebay_wire.stream import StreamName

KINDS = sorted(
    {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AgentError)},
    key=lambda kind: kind.code,
)
_COMMANDS = importlib.import_module("forebay_agent.cli.main")._COMMANDS
NAME = StreamName("数据局", "shop", "shop.my orders")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_kind_has_a_code_a_default_message_and_a_policy_of_its_own(kind: type[AgentError]) -> None:
    assert [each.code for each in KINDS].count(kind.code) == 1
    assert re.fullmatch(r"FB-[A-Z]+(-[A-Z]+)*", kind.code)
    assert str(kind("")) == kind.__doc__
    assert kind in POLICIES
    assert POLICIES[kind].remedy.endswith(".")
    assert POLICIES[kind].exit_code in (1, 3, 4, 5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_a_command_that_a_remedy_names_is_one_that_there_is(kind: type[AgentError]) -> None:
    there = {command.__name__.rpartition(".")[2] for command in _COMMANDS}
    assert set(re.findall(r"`forebay-agent (\w+)[^`]*`", POLICIES[kind].remedy)) <= there


@pytest.mark.parametrize("kind", [errors.LogGap, errors.LogUnfit, errors.LogUnreadable, errors.SourceReplaced])
def test_what_a_log_meets_waits_for_a_person(kind: type[AgentError]) -> None:
    assert policy_of(kind("")).reaction is Reaction.HOLD


def test_commands_in_a_stream_s_remedy_name_the_stream_as_a_shell_takes_it() -> None:
    trouble = Trouble.of(errors.LogGap("there is a gap from 1 to 2"), NAME)
    found = re.search(r"`(forebay-agent snapshot [^`]*)`", trouble.remedy)
    assert found is not None
    assert shlex.split(found[1])[2] == str(NAME)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_what_parked_a_stream_outlives_the_process_with_its_place_remedy_and_sql(kind: type[AgentError]) -> None:
    """And its remedy always says how the stream is freed."""
    error = kind("what is wrong", remedy="Do this.")
    error.sql = "SET GLOBAL a = 'b';"
    checkpoint = Checkpoint.from_json(parking(Checkpoint("log"), error, "at 0-1-2@binlog.000001:4: UPDATE t").to_json())
    assert checkpoint.phase == PARKED
    kept = error_of(checkpoint)
    assert type(kept) is kind
    assert str(kept).startswith("what is wrong (at 0-1-2@binlog.000001:4: UPDATE t)")
    assert remedy_of(kept).startswith("Do this. ")
    assert "`forebay-agent snapshot STREAM --reason …`" in remedy_of(kept)
    assert kept.sql == "SET GLOBAL a = 'b';"


def test_a_remedy_that_frees_the_stream_is_not_told_twice() -> None:
    kept = error_of(parking(Checkpoint("log"), errors.LogGap("gone")))
    assert remedy_of(kept).count("forebay-agent") == 1


def test_a_trouble_of_any_length_is_kept_bounded() -> None:
    checkpoint = parking(Checkpoint("log"), errors.LogUnfit("x" * 100_000, remedy="y" * 100_000, sql="z" * 100_000))
    assert len(checkpoint.parked) < 10_000
    assert str(error_of(checkpoint)).startswith("xxx")


def test_a_trouble_is_told_to_the_journal_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    board = Board()
    with caplog.at_level("INFO", "forebay_agent"):
        for _ in range(3):
            board.capturing(NAME, errors.LogGap("gone"))
        for _ in range(3):
            board.capturing(NAME, None)
    assert [record.getMessage() for record in caplog.records] == ["capture waits", "capture goes on"]
    assert caplog.records[0].fields["code"] == "FB-LOG-GAP"  # type: ignore[attr-defined]
