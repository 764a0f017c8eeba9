"""What the centre does not approve is not sent: it stays in the outbox, counted and shown, until it is approved or given up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa

from forebay_agent.approval.approvals import Approvals
from forebay_wire import canary
from forebay_wire.columns import CHANGE_FIELDS
from forebay_wire.seal import SealedBatch, seal
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2, upload_pb2
from tests.daemon import uplink_site
from tests.daemon.scripted import Refusal, Script, ScriptedCollector
from tests.daemon.uplink_site import until
from tests.receiving.batches import DEPARTMENT, SCHEMA, STREAM

OTHER = StreamName(DEPARTMENT, "登记库", "public.个体户")
WHOLE = {column.name: "" for column in SCHEMA.columns}


def approved(*streams: StreamName, less: str = "", automatic: bool = False) -> control_pb2.Approvals:
    columns = [control_pb2.ApprovedColumn(name=name, mask=mask) for name, mask in WHOLE.items() if name != less]
    return control_pb2.Approvals(
        approvals=[control_pb2.Approval(stream=name.to_proto(), columns=columns) for name in streams],
        automatic=automatic,
    )


class Site(uplink_site.Site):
    """One that holds to what the centre approves, and runs from the start."""

    def __init__(self, state: Path, collector: ScriptedCollector) -> None:
        self.approvals = Approvals(state)
        super().__init__(state, collector, self.approvals)
        self.start()

    def put_canary(self) -> None:
        record = self.outbox.stream(canary.stream_of(DEPARTMENT, "登记库"))
        columns = [["登记库"], [0], ["read"], ["r"], ["canary:1"], [None], [None]]
        rows = pa.RecordBatch.from_arrays(
            [pa.array(each, field.type) for each, field in zip(columns, canary.SCHEMA.arrow, strict=True)],
            schema=canary.SCHEMA.arrow,
        )
        assert len(columns) == 3 + len(CHANGE_FIELDS)
        batch = seal(record.name, record.link, canary.SCHEMA, rows, captured_at_us=1)
        self.outbox.put(record, [batch], '{"rows":1}', schema=canary.SCHEMA)


@contextmanager
def site(folder: Path, script: Script) -> Iterator[Site]:
    state = folder / "state"
    with ScriptedCollector(folder / "authority", script) as collector:
        collector.enrol(state)
        opened = Site(state, collector)
        try:
            yield opened
        finally:
            opened.stop()


def code_of(agent: Site, stream: StreamName = STREAM) -> str:
    trouble = agent.board.of(stream).trouble
    return trouble.code if trouble else ""


def test_before_the_centre_has_said_anything_no_row_leaves(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.put(3)
        until(lambda: code_of(agent) == "FB-NOT-APPROVED")
        time.sleep(0.3)
        assert (script.came, agent.waiting()) == ([], 3)
        assert agent.board.of(STREAM).state == "waiting"
        trouble = agent.board.of(STREAM).trouble
        assert trouble is not None
        assert "forebay-collector approvals" in trouble.remedy
        agent.approvals.take(approved(automatic=True))
        until(lambda: agent.waiting() == 0)
        until(lambda: code_of(agent) == "")


def test_what_was_sealed_with_a_column_that_is_withdrawn_stays_and_other_streams_go_on(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.approvals.take(approved(STREAM, OTHER))
        agent.put(2)
        until(lambda: agent.waiting() == 0)
        agent.approvals.take(approved(OTHER))
        agent.put(3)
        agent.put(4, OTHER)
        until(lambda: script.seqs(OTHER) == [(1, seq) for seq in range(1, 5)])
        until(lambda: code_of(agent) == "FB-NOT-APPROVED")
        agent.approvals.take(
            control_pb2.Approvals(approvals=[*approved(OTHER).approvals, *approved(STREAM, less="text").approvals])
        )
        until(lambda: "not approved: text" in str(agent.board.of(STREAM).trouble))
        time.sleep(0.3)
        assert script.seqs(STREAM) == [(1, 1), (1, 2)]
        assert agent.waiting() == 3
        agent.approvals.take(approved(STREAM, OTHER))
        until(lambda: agent.waiting() == 0)
        assert script.seqs(STREAM) == [(1, seq) for seq in range(1, 6)]
        until(lambda: code_of(agent) == "")
        assert agent.outbox.stream(STREAM).hold is None


def test_a_column_whose_mask_is_another_than_was_approved_does_not_leave(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        message = approved(STREAM)
        message.approvals[0].columns[1].mask = "name"
        agent.approvals.take(message)
        agent.put(1)
        until(lambda: code_of(agent) == "FB-NOT-APPROVED")
        time.sleep(0.3)
        assert script.came == []


def test_a_reset_gives_up_what_may_not_leave_counts_it_and_goes_on_from_the_collectors_mark(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.approvals.take(approved(STREAM))
        first = agent.put(2)
        until(lambda: agent.waiting() == 0)
        agent.approvals.take(control_pb2.Approvals())
        agent.put(3)
        until(lambda: agent.outbox.stream(STREAM).hold is not None)
        record = agent.outbox.reset(STREAM, who="ops", why="it stays withdrawn")
        assert (record.epoch, record.chain) == (2, first[-1].chain)
        with closing(agent.outbox.reader()) as reader:
            assert [each.abandoned_batches for each in reader.resets()] == [3]
        agent.approvals.take(approved(STREAM))
        agent.put(1)
        until(lambda: agent.waiting() == 0)
        assert script.seqs(STREAM) == [(1, 1), (1, 2), (2, 1)]


def test_a_reset_gives_up_what_may_not_leave_where_the_collector_has_nothing_yet(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.put(3)
        until(lambda: agent.outbox.stream(STREAM).hold is not None)
        agent.outbox.reset(STREAM, who="ops", why="it stays withdrawn")
        agent.approvals.take(approved(STREAM))
        agent.put(1)
        until(lambda: script.seqs(STREAM) == [(2, 1)])


def test_the_canary_needs_no_approval(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.put(1)
        agent.put_canary()
        until(lambda: script.seqs(canary.stream_of(DEPARTMENT, "登记库")) == [(1, 1)])
        assert agent.waiting() == 1


def test_what_the_collector_does_not_approve_is_tried_again_shown_and_never_dropped(tmp_path: Path) -> None:
    refusals = [4]

    def refuse(batch: SealedBatch) -> Refusal | None:
        if batch.stream == STREAM and batch.seq == 2 and refusals[0]:
            refusals[0] -= 1
            return upload_pb2.REFUSAL_CODE_NOT_APPROVED, "column text is not approved"
        return None

    script = Script(refuse)
    with site(tmp_path, script) as agent:
        agent.approvals.take(approved(automatic=True))
        agent.put(5)
        until(lambda: code_of(agent) == "FB-NOT-APPROVED")
        assert agent.board.of(STREAM).state == "waiting"
        assert "column text is not approved" in str(agent.board.of(STREAM).trouble)
        agent.put(2, OTHER)
        until(lambda: len(script.seqs(OTHER)) == 2)
        until(lambda: agent.waiting() == 0, 40)
        assert refusals == [0]
        assert script.seqs(STREAM) == [(1, seq) for seq in range(1, 6)]
        assert script.connections == 1
        until(lambda: code_of(agent) == "")
