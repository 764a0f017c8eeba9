"""Many agents that say little: what each takes of the collector, and what is done for all of them together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import event

from forebay_collector.archive.schemas import SchemaLog
from forebay_collector.errors import LedgerUnavailable
from forebay_collector.founding import init
from forebay_collector.ledger.schemas import NewSchema
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.keeping import SchemaKeeper
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import upload_pb2
from tests.receiving.batches import DEPARTMENT, SCHEMA, STREAM, chained
from tests.receiving.collector import InProcess, enrolled
from tests.receiving.sender import Request, Sender


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        yield running


def named(number: int) -> StreamName:
    return StreamName(DEPARTMENT, f"source-{number}", "main.t")


def tasks(collector: InProcess) -> list[str]:
    """What of receiving runs in a task of its own now, by name; the calls themselves are in gRPC's."""

    def ours() -> list[str]:
        running = [str(getattr(task.get_coro(), "__qualname__", "")) for task in asyncio.all_tasks()]
        return sorted(
            name for name in running if name.split(".")[0] in ("Connection", "UploadServicer", "SchemaKeeper")
        )

    found: list[str] = collector.call(ours)
    return found


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.02)


def test_uploads_that_say_nothing_have_one_task_together(collector: InProcess) -> None:
    with ExitStack() as stack:
        for number in range(6):
            credentials = enrolled(collector.settings, collector.ledger, f"a-{number}")
            sender = stack.enter_context(Sender(collector.address, credentials))
            sender.hello(named(number))
            sender.schema(named(number))
            sender.send(*chained(1, named(number)))
            sender.durable(1, named(number))
        assert collector.upload.connections == 6
        until(lambda: tasks(collector) == ["UploadServicer._look"])
    until(lambda: collector.upload.connections == 0)


def test_a_begun_batch_that_is_not_gone_on_with_ends_its_call_and_no_other(
    collector: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_collector.receive.connection.STALL_S", 0.3)
    monkeypatch.setattr("forebay_collector.identity.admission.RECHECK_S", 0.1)
    batch = chained(1, text_bytes=400)[0]
    with (
        Sender(collector.address, enrolled(collector.settings, collector.ledger, "slow")) as slow,
        Sender(collector.address, enrolled(collector.settings, collector.ledger, "quiet")) as quiet,
    ):
        quiet.hello(named(1))
        slow.hello(STREAM)
        slow.schema(STREAM)
        slow.put(Request(batch_start=upload_pb2.BatchStart(header=batch.header)))
        assert slow.failure().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: collector.call(lambda: collector.upload._reception.room.taken) == 0)
        quiet.schema(named(1))
        quiet.send(*chained(1, named(1)))
        quiet.durable(1, named(1))


def keep(collector: InProcess, wanted: list[NewSchema]) -> list[Any]:
    """What becomes of them, asked for at once."""

    async def all_of_them() -> list[Any]:
        log = SchemaLog(collector.settings.data.archive)
        keeper = SchemaKeeper(collector.ledger, Approved(collector.ledger, automatic=True), log)
        return await asyncio.gather(*(keeper.keep(one) for one in wanted), return_exceptions=True)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(all_of_them())).result(30)


def test_schemas_that_come_at_once_are_kept_by_few_commits_and_a_bad_one_holds_up_none(collector: InProcess) -> None:
    commits: list[object] = []
    heard = commits.append  # one object, so that it can be taken away again
    event.listen(collector.ledger.database.engine, "commit", heard)
    wanted = [NewSchema(named(number), SCHEMA.fingerprint, SCHEMA.serialized, "a-1") for number in range(40)]
    bad = NewSchema(named(99), bytes(32), SCHEMA.serialized, "a-1")
    outcomes = keep(collector, [*wanted, bad, *wanted[:3]])
    event.remove(collector.ledger.database.engine, "commit", heard)
    assert [outcome for outcome in outcomes if not isinstance(outcome, WireError)] == [None] * 43
    assert isinstance(outcomes[40], WireError)
    assert len(commits) <= 4, "two groups, and what the collector itself does meanwhile"
    for number in range(40):
        assert collector.ledger.schemas.schema(named(number), SCHEMA.fingerprint) == SCHEMA.serialized
    assert collector.ledger.schemas.schema(named(99), bytes(32)) is None
    assert keep(collector, wanted) == [None] * 40  # once more is nothing


def test_without_the_ledger_no_schema_counts_as_kept(collector: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_new: object) -> None:
        raise LedgerUnavailable("the disk is away")

    monkeypatch.setattr(collector.ledger.schemas, "put_schemas", fails)
    wanted = [NewSchema(named(number), SCHEMA.fingerprint, SCHEMA.serialized, "a-1") for number in range(3)]
    assert [type(outcome) for outcome in keep(collector, wanted)] == [LedgerUnavailable] * 3
