"""What is not approved does not come in, whatever an agent sends; what is approved is not held up by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_collector.founding import init
from forebay_collector.ledger.proposals import Column, Decided, ProposalRecord
from forebay_collector.service import approvals
from forebay_collector.service.actor import Actor
from forebay_wire import canary
from forebay_wire.digest import GENESIS
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, SealedBatch, seal
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, upload_pb2
from tests.receiving.batches import DEPARTMENT, FIRST, SCHEMA, STREAM, chained
from tests.receiving.collector import InProcess, enrolled
from tests.receiving.sender import Credentials, Request, Sender

AGENT = "scjg-01"
OTHER = StreamName(DEPARTMENT, "登记库", "public.变更")
ADA = Actor.local("ada")
ID = Column("id", "bigint", "int64", "")
TEXT = Column("text", "text", "string", "")
NOT_APPROVED = upload_pb2.REFUSAL_CODE_NOT_APPROVED
UNKNOWN_SCHEMA = upload_pb2.REFUSAL_CODE_UNKNOWN_SCHEMA
SOON_S = 5


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"])) as running:
        yield running


@pytest.fixture
def credentials(collector: InProcess) -> Credentials:
    return enrolled(collector.settings, collector.ledger, AGENT)


@pytest.fixture
def sender(collector: InProcess, credentials: Credentials) -> Iterator[Sender]:
    with Sender(collector.address, credentials) as opened:
        opened.hello(STREAM, OTHER)
        yield opened


def propose(collector: InProcess, *columns: Column, stream: StreamName = STREAM) -> None:
    record = ProposalRecord(stream, AGENT, columns, ("id",), "cursor", "", "", "", "", 0, 0, 0, Decided())
    collector.ledger.approvals.propose(AGENT, [record], complete=False, automatic=False)


def approve(collector: InProcess, *columns: Column, stream: StreamName = STREAM) -> None:
    propose(collector, *columns, stream=stream)
    approvals.approve(collector.ledger, ADA, stream, why="agreement")


def schema(*columns: pa.Field) -> TableSchema:
    return TableSchema.of([column("id", pa.int64(), "bigint"), *columns], ["id"])


def batch_under(described: TableSchema, link: Link = FIRST, stream: StreamName = STREAM) -> SealedBatch:
    rows = pa.Table.from_pylist([{"id": 1, "_op": "c", "_position": "1"}], schema=described.arrow).to_batches()[0]
    return seal(stream, link, described, rows, captured_at_us=1)


def tell(sender: Sender, described: TableSchema, stream: StreamName = STREAM) -> None:
    message = batch_pb2.Schema(
        stream=stream.to_proto(), fingerprint=described.fingerprint, arrow_schema=described.serialized
    )
    sender.put(Request(schema=message))


def until_durable(sender: Sender, batch: SealedBatch, again: Callable[[], None]) -> list[int]:
    """Sends the batch until it is durable, as an agent does: at its own pace, the schema again where it is asked for.
    -> the codes of the refusals on the way."""
    codes: list[int] = []
    deadline = time.monotonic() + SOON_S
    while True:
        sender.send(batch)
        answer = sender.next("durable", "refused")
        if answer.WhichOneof("kind") == "durable":
            return codes
        codes.append(answer.refused.code)
        if answer.refused.code == UNKNOWN_SCHEMA:
            again()
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


def refusals(collector: InProcess, stream: StreamName = STREAM) -> list[str]:
    entries = collector.ledger.audit.listing(action="batch refused", subject=str(stream))
    return [entry.why for entry in entries if entry.detail["code"] == "NOT_APPROVED"]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stream_that_nobody_approved_is_refused_and_flows_on_the_same_call_once_it_is(
    collector: InProcess, sender: Sender
) -> None:
    (batch,) = chained(1)
    sender.schema()
    sender.send(batch)
    refused = sender.refused()
    assert (refused.code, refused.seq) == (NOT_APPROVED, 1)
    assert "not approved" in refused.reason
    assert collector.ledger.streams.get(STREAM) is None, "nothing of it is kept, its schema neither"
    propose(collector, ID, TEXT)
    sender.send(batch)
    assert sender.refused().code == NOT_APPROVED
    approvals.approve(collector.ledger, ADA, STREAM)
    codes = until_durable(sender, batch, sender.schema)
    assert codes[-1:] == [UNKNOWN_SCHEMA], "the schema was not kept, so it is asked for again"
    assert set(codes[:-1]) <= {NOT_APPROVED}


def test_another_stream_goes_on_beside_one_that_is_not_approved(collector: InProcess, sender: Sender) -> None:
    approve(collector, ID, TEXT, stream=OTHER)
    sender.schema()
    sender.schema(OTHER)
    sender.send(*chained(1), *chained(2, OTHER))
    assert sender.refused().code == NOT_APPROVED
    sender.durable(2, OTHER)


def test_a_column_that_was_added_later_is_refused_while_batches_without_it_flow(
    collector: InProcess, sender: Sender
) -> None:
    approve(collector, ID)
    plain, wider = schema(), schema(column("phone", pa.string(), "text"))
    tell(sender, plain)
    first = batch_under(plain)
    sender.send(first)
    sender.durable(1)
    tell(sender, wider)
    second = batch_under(wider, FIRST.after(first))
    sender.send(second)
    refused = sender.refused()
    assert (refused.code, "column phone without a mask is not approved" in refused.reason) == (NOT_APPROVED, True)
    again = batch_under(plain, FIRST.after(first))
    sender.send(again)
    sender.durable(2)


@pytest.mark.parametrize(
    ("approved", "sent", "comes_in"), [("name", "", False), ("", "name", True), ("name", "mobile", False)]
)
def test_a_mask_that_is_weaker_than_the_approved_one_is_refused(
    collector: InProcess, sender: Sender, approved: str, sent: str, comes_in: bool
) -> None:
    approve(collector, ID, Column("who", "text", "string", approved))
    described = schema(column("who", pa.string(), "text", mask=sent))
    tell(sender, described)
    sender.send(batch_under(described))
    if comes_in:
        sender.durable(1)
    else:
        assert sender.refused().code == NOT_APPROVED


def test_what_is_withdrawn_is_refused_within_seconds_and_the_schema_that_is_kept_does_not_help(
    collector: InProcess, sender: Sender
) -> None:
    approve(collector, ID, TEXT)
    batches = chained(200)
    sender.schema()
    sender.send(batches[0])
    sender.durable(1)
    approvals.withdraw(collector.ledger, ADA, STREAM, why="ended")
    began = time.monotonic()
    for batch in batches[1:]:
        sender.send(batch)
        answer = sender.next("durable", "refused")
        if answer.WhichOneof("kind") == "refused":
            break
        time.sleep(0.05)
    assert answer.refused.code == NOT_APPROVED
    assert "withdrawn" in answer.refused.reason
    assert time.monotonic() - began < SOON_S
    approvals.approve(collector.ledger, ADA, STREAM)
    assert set(until_durable(sender, batch, sender.schema)) <= {NOT_APPROVED}, "the schema is kept"


def test_however_often_it_comes_it_is_audited_once_until_something_is_decided(
    collector: InProcess, credentials: Credentials
) -> None:
    (batch,) = chained(1)
    for _ in range(3):
        with Sender(collector.address, credentials) as sender:
            sender.hello()
            for _ in range(5):
                sender.schema()
                sender.send(batch)
                assert sender.refused().code == NOT_APPROVED
    until(lambda: bool(refusals(collector)))
    collector.ledger.refusals.settle(everything=True)
    assert len(refusals(collector)) == 1
    propose(collector, ID)
    approvals.approve(collector.ledger, ADA, STREAM)
    with Sender(collector.address, credentials) as sender:
        sender.hello()

        def said_why() -> bool:
            sender.schema()
            sender.send(batch)
            return "column text" in sender.refused().reason

        until(said_why)
    until(lambda: len(refusals(collector)) == 2)
    collector.ledger.refusals.settle(everything=True)
    assert len(refusals(collector)) == 2
    assert "column text" in refusals(collector)[0]


def test_a_new_epoch_gets_past_a_batch_with_a_column_that_will_never_be_approved(
    collector: InProcess, sender: Sender
) -> None:
    approve(collector, ID)
    plain, wider = schema(), schema(column("phone", pa.string(), "text"))
    for described in (plain, wider):
        tell(sender, described)
    first = batch_under(plain)
    sender.send(first)
    sender.durable(1)
    sender.send(batch_under(wider, FIRST.after(first)))
    assert sender.refused().code == NOT_APPROVED
    sender.send(batch_under(plain, Link(2, 1, first.chain)))
    assert sender.next("durable", "refused").durable.epoch == 2


def test_a_canary_needs_no_approval_and_nothing_else_passes_for_one(collector: InProcess, sender: Sender) -> None:
    stream = canary.stream_of(DEPARTMENT, "登记库")
    tell(sender, canary.SCHEMA, stream)
    rows = pa.Table.from_pylist(
        [{"id": "登记库", "_op": "c", "_position": "1"}], schema=canary.SCHEMA.arrow
    ).to_batches()
    sender.send(seal(stream, FIRST, canary.SCHEMA, rows[0], captured_at_us=1))
    sender.durable(1, stream)
    disguised = canary.stream_of(DEPARTMENT, "民政库")
    tell(sender, SCHEMA, disguised)
    sender.send(*chained(1, disguised))
    assert sender.refused().code == NOT_APPROVED
    collector.ledger.approvals.propose(
        AGENT,
        [ProposalRecord(disguised, AGENT, (ID, TEXT), ("id",), "", "", "", "", "", 0, 0, 0, Decided())],
        complete=False,
        automatic=True,
    )
    sender.send(*chained(1, disguised))
    assert sender.refused().code == NOT_APPROVED


def test_where_everything_is_approved_nothing_waits_but_what_a_person_took_back(tmp_path: Path) -> None:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as collector:
        credentials = enrolled(collector.settings, collector.ledger, AGENT)
        with Sender(collector.address, credentials) as sender:
            sender.hello()
            sender.schema()
            batches = chained(100)
            sender.send(batches[0])
            sender.durable(1)
            propose(collector, ID, TEXT)
            approvals.approve(collector.ledger, ADA, STREAM)
            approvals.withdraw(collector.ledger, ADA, STREAM, ["text"], "not needed")
            for batch in batches[1:]:
                sender.send(batch)
                answer = sender.next("durable", "refused")
                if answer.WhichOneof("kind") == "refused":
                    break
                time.sleep(0.05)
            assert answer.refused.code == NOT_APPROVED


def test_after_a_restart_it_is_as_it_was(tmp_path: Path) -> None:
    settings = init(tmp_path / "data", ["127.0.0.1:0"])
    with InProcess(settings) as collector:
        credentials = enrolled(settings, collector.ledger, AGENT)
        approve(collector, ID, TEXT)
        with Sender(collector.address, credentials) as sender:
            sender.hello()
            sender.schema()
            sender.send(*chained(1))
            sender.durable(1)
        approvals.withdraw(collector.ledger, ADA, STREAM, why="ended")
    with InProcess(settings) as collector, Sender(collector.address, credentials) as sender:
        (mark,) = sender.hello().marks
        assert mark.durable_chain != GENESIS
        sender.send(chained(2)[1])
        assert sender.refused().code == NOT_APPROVED
