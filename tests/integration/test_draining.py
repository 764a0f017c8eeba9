"""Everything that is committed now is captured: transactions that go on are neither waited for on the source's thread, nor
taken for the end of what is to be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forebay_agent.config.model import TableConfig
from forebay_agent.control.draining import capture_through, polling
from forebay_agent.errors import CommandTimeout
from tests.capturing.source_stage import SourceStage
from tests.contract.harness import SourceHarness

CREATE = {
    "mysql": "CREATE TABLE permit (no BIGINT AUTO_INCREMENT PRIMARY KEY, id BIGINT)",
    "postgresql": "CREATE TABLE permit (no bigserial PRIMARY KEY, id bigint)",
}
WITHIN = 60.0


@pytest.fixture(params=tuple(CREATE))
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceStage]:
    harness: SourceHarness = request.getfixturevalue(f"{request.param}_harness")
    harness.execute(CREATE[harness.kind], "INSERT INTO permit (id) VALUES (1)")
    made = SourceStage(harness, tmp_path / "s", TableConfig("permit", mode="cursor", cursor="no", unique_cursor=True))
    made.approve_all()
    made.until(lambda: len(made.mirror("permit")) == 1, WITHIN)
    yield made
    made.stop()


@contextmanager
def thread_of(stage: SourceStage) -> Iterator[None]:
    """The source's thread, as the agent has one: it answers jobs."""
    thread = threading.Thread(target=stage.worker.run)
    thread.start()
    try:
        yield
    finally:
        stage.worker.stop()
        thread.join(WITHIN)
        assert not thread.is_alive()


def drain(stage: SourceStage, seconds: float) -> None:
    until = time.monotonic() + seconds
    lane = stage.worker.lanes[stage.stream("permit")]
    capture_through([polling(stage.worker, lane, until)], stage.board, until)


def ids(stage: SourceStage) -> set[object]:
    return {row["id"] for row in stage.mirror("permit").values()}


def test_what_a_transaction_hides_is_said_and_the_sources_thread_goes_on_meanwhile(stage: SourceStage) -> None:
    harness = stage.harness
    late = harness.session()
    late.execute("INSERT INTO permit (id) VALUES (2)")
    harness.execute("INSERT INTO permit (id) VALUES (3)")
    with thread_of(stage):
        told: list[CommandTimeout] = []

        def ask() -> None:
            try:
                drain(stage, 8)
            except CommandTimeout as error:
                told.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        stage.worker.ask(lambda: None).result(WITHIN)
        assert asking.is_alive(), "the source's thread did nothing else until the drain was over"
        asking.join()
        late.commit()
        late.close()
        drain(stage, WITHIN)
        assert ids(stage) == {1, 2, 3}
    assert [("permit" in str(error), "wait" in str(error)) for error in told] == [(True, True)]


def test_transactions_that_overlap_for_ever_do_not_keep_it_from_ending(stage: SourceStage) -> None:
    """There is always one open: a drain ends all the same, and what was committed before it is captured."""
    harness = stage.harness
    over = threading.Event()
    numbers = iter(range(100, 100_000))

    def overlap() -> None:
        current = harness.session()
        current.execute(f"INSERT INTO permit (id) VALUES ({next(numbers)})")
        while not over.is_set():
            following = harness.session()
            following.execute(f"INSERT INTO permit (id) VALUES ({next(numbers)})")
            current.commit()
            current.close()
            current = following
            over.wait(0.15)
        current.rollback()
        current.close()

    overlapping = threading.Thread(target=overlap)
    overlapping.start()
    try:
        time.sleep(0.5)
        with thread_of(stage):
            for _ in range(3):
                committed = {number for (number,) in harness.rows("SELECT id FROM permit")}
                drain(stage, WITHIN)
                assert committed <= ids(stage)
    finally:
        over.set()
        overlapping.join()
