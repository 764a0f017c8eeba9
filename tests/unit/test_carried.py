"""What left the outbox while there was no line is shown, and what the collector said before is never taken back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import Outbox
from forebay_agent.stream_state import Board
from forebay_agent.uplink import carried
from tests.receiving.batches import STREAM
from tests.unit.test_outbox import fill


def test_the_board_follows_and_never_goes_back(tmp_path: Path) -> None:
    board = Board()
    with closing(Outbox.open(tmp_path, OutboxConfig(free_disk=0))) as outbox:
        record, _ = fill(outbox, 3)
        carried.look(outbox, board)
        assert board.all() == []  # no stream that is not configured
        board.update(STREAM, epoch=1, durable=(1, 2))  # said on a line, and not deleted yet
        carried.look(outbox, board)
        assert board.of(STREAM).durable == (1, 2)
        outbox.delete({record.id: (1, 3)})
        carried.look(outbox, board)
        assert board.of(STREAM).durable == (1, 3)
