"""What a load must be like before anything of it is written: in order, with sound names, and a key that stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from forebay_collector.platform.contract import OpenedBatch, PlatformError, PlatformMark
from forebay_collector.platform.iceberg import ranges
from forebay_collector.platform.iceberg.fields import EPOCH, ROW, SEQ
from forebay_wire.columns import CHANGE_NAMES
from forebay_wire.stream import StreamName

_OWN: Final = frozenset((EPOCH, SEQ, ROW, *CHANGE_NAMES))


def check(
    stream: StreamName,
    batches: Sequence[OpenedBatch],
    mark: PlatformMark,
    columns: tuple[str, ...],
    key: tuple[str, ...],
) -> None:
    """`mark`: what the history holds; `columns`, `key`: of the last batch that it took.

    Raises PlatformError (permanent): batches that are out of order, a column that leaves or a key that changes within an
    epoch, a key that is lost, a key range that this key cannot have.
    """
    last: PlatformMark | None = None
    for batch in batches:
        here = PlatformMark(batch.epoch, batch.seq)
        if last is not None and here <= last:
            raise PlatformError(
                f"{stream}: batch epoch {here.epoch} seq {here.seq} after epoch {last.epoch} seq {last.seq}",
                code="FB-PLATFORM-ORDER",
                permanent=True,
            )
        last = here
        if here <= mark:
            continue
        names = tuple(column.name for column in batch.schema.columns)
        _check_names(stream, names, columns if batch.epoch == mark.epoch else ())
        _check_key(stream, batch, mark.epoch, key)
        ranges.check(stream, batch)
        mark, columns, key = here, names, batch.schema.key


def _check_names(stream: StreamName, names: tuple[str, ...], before: tuple[str, ...]) -> None:
    for name in names:
        if name in _OWN:
            raise _refused(f"{stream}: column {name!r} has the name of one of Forebay's own")
    for name in before:
        if name not in names:
            raise _refused(
                f"{stream}: column {name!r} is no longer in the table; a column leaves only with a new epoch, "
                "so put it back, or reset the stream"
            )


def _check_key(stream: StreamName, batch: OpenedBatch, epoch: int, key: tuple[str, ...]) -> None:
    now = batch.schema.key
    if epoch and now != key and (batch.epoch == epoch or not now):
        raise _refused(
            f"{stream}: the key changes from ({', '.join(key)}) to ({', '.join(now)}); "
            + (
                "it may with a new epoch only, so reset the stream"
                if now
                else "a mirror cannot lose its key: name unique columns with `key`"
            )
        )


def _refused(message: str) -> PlatformError:
    return PlatformError(message, code="FB-PLATFORM-SCHEMA", permanent=True)
