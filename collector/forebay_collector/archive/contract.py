"""What every archive owes. One contract suite, `tests/contract/test_archive.py`, is passed by each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName


class Archive(Protocol):
    """A store of sealed batches. One thread writes (`write`, `sync`, `abort`); any thread reads and deletes.

    Raises of every method: ArchiveUnavailable when the store cannot do its part; ArchiveFull when it has no room.
    """

    def write(self, batch: SealedBatch) -> None:
        """Takes the batch in. It is durable only after `sync`. Writing a batch again replaces it."""

    def sync(self) -> None:
        """Makes everything written since the last `sync` durable. When it raises, nothing of that is promised: call
        `abort`, and have the batches sent again."""

    def abort(self) -> None:
        """Gives up what was written since the last `sync` and frees its room. Never raises."""

    def read(self, stream: StreamName, epoch: int, seq: int) -> SealedBatch:
        """The batch, its digests checked. Raises ArchiveMissing, ArchiveDamaged (naming where it is kept)."""

    def delete(self, stream: StreamName, epoch: int, seq: int) -> None:
        """Removes the batch. Removing what is not there is nothing."""

    def batches(self, stream: StreamName) -> Iterator[tuple[int, int]]:
        """(epoch, seq) of every batch of the stream, in order."""

    def streams(self) -> Iterator[StreamName]:
        """Every stream that a batch is held of, in no order."""

    def close(self) -> None:
        """Ends what it holds open; what was not synced is given up."""
