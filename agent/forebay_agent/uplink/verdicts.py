"""Verdicts: what marks, acknowledgements and refusals mean for one stream, kept in the outbox and shown on the board."""

from __future__ import annotations

from typing import Final

from forebay_agent import journal
from forebay_agent.clock import Clock
from forebay_agent.errors import AgentError, BatchRefused, CollectorBehind, NotApproved, StateLost
from forebay_agent.outbox import Hold, Outbox, OutboxReader
from forebay_agent.stream_state import Board, Trouble
from forebay_agent.uplink.fit import CollectorMark, check_fit
from forebay_agent.uplink.lane import Lane, Sent, Standing
from forebay_wire.seal import parse_header
from forebay_wire.v1 import upload_pb2

_AGAIN: Final = {
    upload_pb2.REFUSAL_CODE_GAP,
    upload_pb2.REFUSAL_CODE_UNKNOWN_SCHEMA,
    upload_pb2.REFUSAL_CODE_UNAVAILABLE,
    # the window may be passed for a moment after a refusal; a batch that is really too large is refused each time
    upload_pb2.REFUSAL_CODE_LIMIT,
}
_MOST_AGAIN: Final = 5
_PERSON_NEEDED_WHEN_IT_LASTS: Final = _AGAIN - {upload_pb2.REFUSAL_CODE_UNAVAILABLE}
_UNTIL_DURABLE: Final = (BatchRefused.code, NotApproved.code)
"""a fitting mark alone does not mend these"""
_APPROVE_OR_GIVE_UP: Final = (
    "Ask the centre to approve it (`forebay-collector approvals`); it then goes on by itself. Or give up what waits: "
    "`forebay-agent reset STREAM --reason …` counts it and starts the stream anew."
)
_LACKING: Final = "the collector cannot take batches now"


class Verdicts:
    """Used by the uplink's thread. Methods raise OutboxDamaged, StateFolderUnusable, OutboxFull."""

    def __init__(self, outbox: Outbox, board: Board, clock: Clock) -> None:
        self._outbox = outbox
        self._board = board
        self._clock = clock

    def marked(self, lane: Lane, mark: upload_pb2.Mark, reader: OutboxReader) -> tuple[int, int] | None:
        """Opens the lane, or holds it. -> up to where the collector has the stream, when the two fit together."""
        record, first = reader.standing(lane.id)
        lane.epoch = record.epoch
        held = CollectorMark.of(mark)
        try:
            check_fit(record, first, lambda epoch, seq: reader.find(lane.id, epoch, seq), held)
        except (StateLost, CollectorBehind) as error:
            self._hold(lane, error, held)
            lane.standing, lane.ask_at = Standing.PAUSING, 0.0
            return None
        lane.opened(held.at, held.chain)
        lane.hold_kept = record.hold is not None
        nothing_waits = first is None or held.chain == record.chain
        if record.hold is None or record.hold.code not in _UNTIL_DURABLE or nothing_waits:
            self._release(lane)
        self._show(lane, held.at, mark.loaded_epoch, mark.loaded_seq)
        return held.at

    def durable(self, lane: Lane, sent: Sent) -> None:
        """The collector has the batch and everything before it."""
        lane.backoff.succeeded()
        lane.refusals = 0
        self._release(lane)
        lane.epoch = max(lane.epoch, sent.at[0])
        self._show(lane, sent.at, 0, 0)
        journal.debug("durable", stream=lane.name, epoch=sent.at[0], seq=sent.at[1])

    def loaded(self, lane: Lane, epoch: int, seq: int) -> None:
        if epoch == lane.epoch:
            self._board.update(lane.name, loaded_seq=seq, loaded_at_us=self._clock.now_us())

    def refused(self, lane: Lane, refused: upload_pb2.Refused, schemas: set[tuple[int, bytes]]) -> None:
        """Pauses the lane, or holds it. `schemas`: what this connection has sent; forgotten where the collector asks."""
        name = upload_pb2.RefusalCode.Name(refused.code).removeprefix("REFUSAL_CODE_")
        said = f"{lane.name}: epoch {refused.epoch} seq {refused.seq}: {name}: {refused.reason}"
        lane.standing = Standing.PAUSING
        lane.refusals += 1
        if refused.code == upload_pb2.REFUSAL_CODE_UNKNOWN_SCHEMA:
            schemas -= {entry for entry in schemas if entry[0] == lane.id}
        if refused.code == upload_pb2.REFUSAL_CODE_NOT_APPROVED:
            lane.ask_at = self._clock.monotonic() + lane.backoff.next()
            self._wait_for_approval(lane, f"the collector refuses it: {refused.reason}", CollectorMark.of(refused.mark))
            return
        lasting = lane.refusals >= _MOST_AGAIN and refused.code in _PERSON_NEEDED_WHEN_IT_LASTS
        if refused.code in _AGAIN and not lasting:
            pause = (
                lane.backoff.next() if refused.code == upload_pb2.REFUSAL_CODE_UNAVAILABLE or lane.refusals > 1 else 0
            )
            lane.ask_at = self._clock.monotonic() + pause
            journal.info(
                "batch refused for now",
                stream=lane.name,
                epoch=refused.epoch,
                seq=refused.seq,
                reason=said,
                again_in=f"{pause:.1f}s",
            )
            if refused.code == upload_pb2.REFUSAL_CODE_UNAVAILABLE:
                trouble = Trouble(BatchRefused.code, f"{_LACKING}: {refused.reason}", "It is tried again.", held=False)
                self._board.update(lane.name, sending=trouble)
            return
        mark = CollectorMark.of(refused.mark) if refused.HasField("mark") else None
        self._hold(lane, BatchRefused(said), mark)

    def unapproved(self, lane: Lane, reader: OutboxReader) -> None:
        """What comes next may not leave under what is approved now. It stays, counted and shown."""
        assert lane.unapproved is not None
        mark = None
        if not lane.hold_kept and not lane.in_flight:
            _, first = reader.standing(lane.id)
            # what the collector has is deleted in a moment
            if first is not None and (first.epoch, first.seq) > lane.sent:
                mark = CollectorMark(*lane.sent, parse_header(first.header).previous_chain)
        self._wait_for_approval(lane, lane.unapproved.why, mark)

    def _wait_for_approval(self, lane: Lane, why: str, mark: CollectorMark | None) -> None:
        """With the collector's mark a reset can give up what waits."""
        error = NotApproved(f"{lane.name}: batches wait that may not leave: {why}", remedy=_APPROVE_OR_GIVE_UP)
        trouble = Trouble.of(error)
        if self._board.of(lane.name).sending != trouble:
            journal.warning("batches wait", stream=lane.name, code=trouble.code, reason=trouble.reason)
            self._board.update(lane.name, sending=trouble)
        if mark is not None and not lane.hold_kept:
            self._outbox.hold(lane.id, Hold(error.code, str(error), mark.epoch, mark.seq, mark.chain))
            lane.hold_kept = True

    def confirmed_another(self, lane: Lane, sent: Sent) -> None:
        """The collector calls a batch durable that is not the one that was sent under this epoch and seq."""
        lane.standing = Standing.PAUSING
        lane.in_flight.clear()
        self._hold(
            lane, StateLost(f"{lane.name}: the collector confirms another epoch {sent.at[0]} seq {sent.at[1]}"), None
        )

    def _hold(self, lane: Lane, error: AgentError, mark: CollectorMark | None) -> None:
        """With the collector's mark a reset can start from it, so it is kept; without, only shown."""
        lane.verdict = error
        trouble = Trouble.of(error, lane.name)
        if self._board.of(lane.name).sending != trouble:
            journal.error("stream held", stream=lane.name, code=trouble.code, reason=trouble.reason)
        self._board.update(lane.name, sending=trouble)
        if mark is not None:
            self._outbox.hold(lane.id, Hold(error.code, str(error), mark.epoch, mark.seq, mark.chain))
            lane.hold_kept = True

    def _release(self, lane: Lane) -> None:
        if lane.hold_kept:
            self._outbox.release(lane.id)
            lane.hold_kept = False
        if self._board.of(lane.name).sending is not None:
            journal.info("stream goes on", stream=lane.name)
            self._board.update(lane.name, sending=None)

    def _show(self, lane: Lane, at: tuple[int, int], loaded_epoch: int, loaded_seq: int) -> None:
        self._board.update(lane.name, durable_seq=at[1] if at[0] == lane.epoch else 0)
        if loaded_epoch:
            self._board.update(lane.name, loaded_seq=loaded_seq if loaded_epoch == lane.epoch else 0)
