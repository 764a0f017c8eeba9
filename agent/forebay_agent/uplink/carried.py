"""While no line leads to the centre: `outbox acknowledge`, another process, takes away what the centre's answers call durable,
and all that is left to do here is to look how far that went."""

from __future__ import annotations

from contextlib import closing

from forebay_agent.errors import OutboxFull
from forebay_agent.outbox import Outbox
from forebay_agent.stream_state import Board


def look(outbox: Outbox, board: Board) -> None:
    """Shows it on the board, which never goes back. Raises OutboxDamaged, StateFolderUnusable."""
    try:
        outbox.look()
    except OutboxFull:  # the disk is full to the last byte: at the next look
        return
    with closing(outbox.reader()) as reader:
        left = reader.left()
    for state in board.all():
        durable = left.get(state.name, (0, 0))
        if durable > state.durable:
            board.update(state.name, durable=durable)
