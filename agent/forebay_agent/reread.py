"""Re-read windows: rows that were sealed before, unchanged, are dropped.

Rows are compared by canonical digests (`forebay_wire.canonical`) of key and row after the transform. The memory of what
was sealed stands in the outbox and changes in the transaction that keeps the batch (`outbox.seen`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from forebay_agent.capture.captured import Reread
from forebay_agent.outbox import SeenChanges
from forebay_agent.outbox.seen import RENEW
from forebay_wire.canonical import canonical_rows, digests, select

Lookup = Callable[[Sequence[bytes]], dict[bytes, tuple[bytes, int]]]
"""Keys' digests -> (row digest, window) of those that are remembered."""


def drop_unchanged(
    rows: pa.RecordBatch, columns: Sequence[str], key: Sequence[str], reread: Reread, window: int, lookup: Lookup
) -> tuple[pa.RecordBatch, SeenChanges]:
    """-> the rows that are not remembered as they are now, and what that changes in the memory.

    columns: the table's own columns, those of the key among them. window: StreamRecord.window.
    """
    if not rows.num_rows:
        return rows, SeenChanges(last_of_window=reread.last_of_window)
    keys = digests(canonical_rows(select(rows, key)))
    known = lookup(keys)
    if not known and not pc.any(reread.remember).as_py():
        return rows, SeenChanges(last_of_window=reread.last_of_window)
    images = digests(canonical_rows(select(rows, columns)))
    now = {each: image for each, (image, _) in known.items()}
    fresh = []
    remember: dict[bytes, bytes] = {}
    forget: set[bytes] = set()
    for each, image, again in zip(keys, images, reread.remember.to_pylist(), strict=True):
        fresh.append(now.get(each) != image)
        now[each] = image
        if again:
            forget.discard(each)
            if each not in known or known[each][0] != image or window - known[each][1] >= RENEW:
                remember[each] = image
            else:
                remember.pop(each, None)
        else:
            remember.pop(each, None)
            if each in known:
                forget.add(each)
    kept = rows if all(fresh) else rows.filter(pa.array(fresh, pa.bool_()))
    return kept, SeenChanges(tuple(remember.items()), tuple(forget), reread.last_of_window)
