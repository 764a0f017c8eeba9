"""What the agent knows of approvals, what it proposes, and what it says on one connection."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_agent import kept
from forebay_agent.approval.approvals import Approvals
from forebay_agent.approval.exchange import PATIENCE_SECONDS, Exchange
from forebay_agent.approval.proposals import FILE_NAME, Proposal, Proposals, ProposedColumn, kept_proposals
from forebay_agent.errors import StateFolderUnusable
from forebay_wire import canary, limits
from forebay_wire.schema import TableSchema, column
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, control_pb2

PEOPLE = StreamName("民政局", "civil", "public.people")
HOUSES = StreamName("民政局", "civil", "public.houses")
CLEAR = TableSchema.of([column("id", pa.int64(), "bigint"), column("name", pa.string(), "text")], ["id"])
MASKED = TableSchema.of([column("id", pa.int64(), "bigint"), column("name", pa.string(), "text", mask="name")], ["id"])


def said(*streams: StreamName, automatic: bool = False, revision: int = 1, **masks: str) -> control_pb2.Approvals:
    names = {"id": "", "name": ""} | masks
    columns = [control_pb2.ApprovedColumn(name=name, mask=mask) for name, mask in names.items()]
    return control_pb2.Approvals(
        approvals=[control_pb2.Approval(stream=stream.to_proto(), columns=columns) for stream in streams],
        automatic=automatic,
        revision=revision,
    )


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now_us(self) -> int:
        return int(self.seconds * 1e6)

    def monotonic(self) -> float:
        return self.seconds


# ---- approvals


def test_nothing_may_leave_before_the_centre_has_said_anything(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path)
    assert "has not said yet" in approvals.why_not(PEOPLE, CLEAR)
    assert approvals.current.lacking(PEOPLE, [("id", "")]) == ["id"]


def test_what_another_process_wrote_down_is_taken_by_the_one_that_runs(tmp_path: Path) -> None:
    running, beside = Approvals(tmp_path), Approvals(tmp_path)
    running.look()
    assert running.generation == 0
    assert beside.bring(said(PEOPLE), 1_000)
    running.look()
    assert (running.why_not(PEOPLE, CLEAR), running.generation) == ("", 1)
    running.look()
    assert running.generation == 1
    running.take(said(HOUSES, revision=2))
    running.look()
    assert (running.why_not(HOUSES, CLEAR), running.generation) == ("", 2)
    assert "not approved" in running.why_not(PEOPLE, CLEAR)
    (tmp_path / "approvals.json").unlink()
    running.look()
    assert running.why_not(HOUSES, CLEAR) == ""


def test_what_comes_on_a_disk_counts_when_it_is_newer_than_what_is_known(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path)
    approvals.take(said(PEOPLE, revision=7))
    assert not approvals.bring(said(HOUSES, revision=6), 1_000)  # than what a line said
    assert approvals.bring(said(HOUSES, revision=8), 1_000)
    assert not approvals.bring(said(PEOPLE, revision=7), 999)  # than what another disk brought
    # the ledger may have been restored: of two answers the one that was made later counts
    assert Approvals(tmp_path).bring(said(PEOPLE, revision=3), 1_001)
    assert Approvals(tmp_path).why_not(PEOPLE, CLEAR) == ""


def test_a_column_may_leave_under_the_mask_that_it_is_approved_with(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path)
    approvals.take(said(PEOPLE))
    assert approvals.why_not(PEOPLE, CLEAR) == ""
    assert approvals.why_not(PEOPLE, MASKED) == "not approved: name"
    assert approvals.why_not(HOUSES, CLEAR) == "not approved: id, name"
    approvals.take(said(PEOPLE, name="name"))
    assert (approvals.why_not(PEOPLE, CLEAR), approvals.why_not(PEOPLE, MASKED)) == ("not approved: name", "")


def test_one_that_is_approved_under_two_masks_may_leave_under_both(tmp_path: Path) -> None:
    """Batches that were sealed before a mask was changed still wait."""
    approvals = Approvals(tmp_path)
    message = said(PEOPLE)
    message.approvals[0].columns.add(name="name", mask="name")
    approvals.take(message)
    assert [approvals.why_not(PEOPLE, each) for each in (CLEAR, MASKED)] == ["", ""]
    assert [Approvals(tmp_path).why_not(PEOPLE, each) for each in (CLEAR, MASKED)] == ["", ""]


def test_automatic_approves_whatever_there_is(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path)
    approvals.take(said(automatic=True))
    assert (approvals.why_not(PEOPLE, CLEAR), approvals.why_not(HOUSES, MASKED)) == ("", "")
    approvals.take(said())
    assert approvals.why_not(PEOPLE, CLEAR) != ""


def test_a_canary_needs_none_and_its_name_alone_is_none(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path)
    stream = canary.stream_of("民政局", "civil")
    assert approvals.why_not(stream, canary.SCHEMA) == ""
    assert approvals.why_not(stream, CLEAR) != ""


@pytest.mark.parametrize("message", [said(PEOPLE, HOUSES, name="name", revision=7), said(automatic=True), said()])
def test_what_was_said_last_holds_over_a_restart(tmp_path: Path, message: control_pb2.Approvals) -> None:
    approvals = Approvals(tmp_path)
    approvals.take(said(HOUSES))
    approvals.take(message)
    assert Approvals(tmp_path).current == approvals.current
    assert Approvals(tmp_path).current.heard


def test_saying_the_same_again_changes_nothing(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path)
    approvals.take(said(PEOPLE))
    generation = approvals.generation
    approvals.take(said(PEOPLE, revision=2))
    assert approvals.generation == generation
    assert Approvals(tmp_path).current.revision == 2
    approvals.take(said())
    assert approvals.generation == generation + 1


def test_a_file_that_was_altered_stops_the_agent_and_approves_nothing(tmp_path: Path) -> None:
    Approvals(tmp_path).take(said(PEOPLE))
    file = tmp_path / "approvals.json"
    told = json.loads(file.read_text("utf-8"))
    told["content"]["automatic"] = True
    file.write_text(json.dumps(told))
    with pytest.raises(StateFolderUnusable) as refused:
        Approvals(tmp_path)
    assert "remove it" in refused.value.remedy
    kept.write(file, {"streams": "none"})
    with pytest.raises(StateFolderUnusable):
        Approvals(tmp_path)


def test_on_a_full_disk_it_holds_all_the_same_and_is_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approvals = Approvals(tmp_path)
    approvals.take(said(PEOPLE))

    def full(*_: object) -> None:
        raise StateFolderUnusable("no space left")

    monkeypatch.setattr("forebay_agent.kept.write", full)
    approvals.take(said())
    assert approvals.why_not(PEOPLE, CLEAR) != ""
    assert Approvals(tmp_path).current.streams, "it could not be kept yet"
    monkeypatch.undo()
    approvals.keep()
    assert not Approvals(tmp_path).current.streams


def test_what_names_no_stream_is_passed_over(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path)
    message = said(PEOPLE)
    message.approvals.add(stream=batch_pb2.Stream(department="", source="x", table="y"))
    approvals.take(message)
    assert list(approvals.current.streams) == [PEOPLE]


# ---- proposals


def proposal(stream: StreamName, *names: str, **changes: str) -> Proposal:
    columns = tuple(ProposedColumn(name, "text", "string", "") for name in names)
    return Proposal(stream, "cursor", columns=columns, key=("id",), **changes)


def told(exchange: Exchange) -> list[tuple[list[str], bool]]:
    """Per message the tables and whether it is complete."""
    return [
        ([each.stream.table for each in request.proposals.proposals], request.proposals.complete)
        for request in exchange.due()
    ]


def test_proposals_are_complete_once_every_table_has_one_and_then_only_news_is_told() -> None:
    proposals, approvals = Proposals(), Approvals(None)
    proposals.expect([PEOPLE, HOUSES])
    exchange = Exchange(approvals, proposals, Clock())
    proposals.put(proposal(PEOPLE, "id"))
    assert told(exchange) == [], "nothing goes before the welcome"
    exchange.welcomed("0.1.0")
    assert told(exchange) == [(["public.people"], False)]
    assert told(exchange) == []
    proposals.put(proposal(HOUSES, "id"))
    assert told(exchange) == [(["public.houses", "public.people"], True)]
    proposals.put(proposal(HOUSES, "id"))
    assert told(exchange) == []
    proposals.put(proposal(HOUSES, "id", "street"))
    assert told(exchange) == [(["public.houses"], False)]
    proposals.forget([HOUSES])
    assert told(exchange) == [(["public.people"], True)]
    proposals.put(proposal(HOUSES, "id"))
    assert told(exchange) == [], "it is not configured any more"
    proposals.again()
    assert told(exchange) == [(["public.people"], True)]


def test_another_connection_is_told_everything() -> None:
    proposals = Proposals()
    proposals.expect([PEOPLE])
    proposals.put(proposal(PEOPLE, "id"))
    for _ in range(2):
        exchange = Exchange(Approvals(None), proposals, Clock())
        exchange.welcomed("0.1.0")
        assert told(exchange) == [(["public.people"], True)]


def test_an_agent_that_shares_nothing_says_so() -> None:
    exchange = Exchange(Approvals(None), Proposals(), Clock())
    exchange.welcomed("0.1.0")
    assert told(exchange) == [([], True)]


def test_more_than_one_message_holds_goes_in_parts() -> None:
    proposals = Proposals()
    streams = [StreamName("d", "s", f"public.t{number:03d}") for number in range(300)]
    proposals.expect(streams)
    for stream in streams:
        proposals.put(proposal(stream, *(f"column_{number:04d}_{'x' * 60}" for number in range(200))))
    exchange = Exchange(Approvals(None), proposals, Clock())
    exchange.welcomed("0.1.0")
    requests = exchange.due()
    assert len(requests) > 1
    assert all(request.ByteSize() < limits.MAX_MESSAGE_BYTES for request in requests)
    assert [each.stream.table for request in requests for each in request.proposals.proposals] == [
        stream.table for stream in streams
    ]
    assert exchange.due() == []


# ---- a collector that is older than the agent


def test_a_collector_that_never_says_what_it_approves_is_named_and_nothing_begins() -> None:
    clock, approvals = Clock(), Approvals(None)
    exchange = Exchange(approvals, Proposals(), clock)
    exchange.welcomed("0.0.9")
    exchange.due()
    assert approvals.silent == ""
    clock.seconds += PATIENCE_SECONDS + 1
    exchange.due()
    assert "0.0.9" in approvals.why_not(PEOPLE, CLEAR)
    assert "older than this agent" in approvals.why_not(PEOPLE, CLEAR)
    exchange.take(said(PEOPLE))
    assert approvals.why_not(PEOPLE, CLEAR) == ""


def test_one_that_says_it_in_time_is_never_called_old() -> None:
    clock, approvals = Clock(), Approvals(None)
    exchange = Exchange(approvals, Proposals(), clock)
    exchange.welcomed("0.1.0")
    exchange.take(said())
    clock.seconds += 10 * PATIENCE_SECONDS
    exchange.due()
    assert approvals.silent == ""


def test_proposals_are_kept_for_whoever_carries_them_and_written_when_they_differ(tmp_path: Path) -> None:
    assert kept_proposals(tmp_path) is None
    made = Proposals(tmp_path)
    made.expect([PEOPLE])
    made.put(Proposal(PEOPLE, "cursor", columns=(ProposedColumn("id", "bigint", "int64", ""),), key=("id",)))
    made.keep()
    told = kept_proposals(tmp_path)
    assert told is not None
    assert (told.complete, [list(each.key) for each in told.proposals]) == (True, [["id"]])
    written = (tmp_path / FILE_NAME).stat().st_mtime_ns
    made.keep()
    again = Proposals(tmp_path)
    again.expect([PEOPLE])
    again.put(Proposal(PEOPLE, "cursor", columns=(ProposedColumn("id", "bigint", "int64", ""),), key=("id",)))
    again.keep()  # the same after a restart
    assert (tmp_path / FILE_NAME).stat().st_mtime_ns == written
    again.forget([PEOPLE])
    again.keep()
    told = kept_proposals(tmp_path)
    assert told is not None
    assert (told.complete, list(told.proposals)) == (True, [])
    (tmp_path / FILE_NAME).write_text("{}")
    with pytest.raises(StateFolderUnusable):
        kept_proposals(tmp_path)
