"""When and how much a table is compacted and swept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Bounds of one call of `maintain`, which runs between loads and must not hold them up.

    deleted_share: a file with more deleted rows than this is rewritten.
    small_rows: files below it are merged, `merge_files` of a size class at a time (so that a row is rewritten once per
        class, not once per load). A class holds files of up to `class_factor` times the rows of the class below.
    rewrite_rows, rewrite_bytes: live rows, and bytes on disk, that one call rewrites at most.
    keep_snapshots, expire_from, expire_at_most: so many snapshots stay in the metadata (which is read and written with
        every commit, so it must stay small); the rest is expired once that many are due, that many per call.
    grace_s: how long a file stays after the last snapshot that names it was expired, for readers that opened one.
    orphan_age_s, sweep_every_s: files that no snapshot names (of a load that died) count as needless at that age, and
        are looked for that often.
    """

    deleted_share: float = 0.2
    small_rows: int = 64_000
    merge_files: int = 8
    class_factor: int = 8
    rewrite_rows: int = 400_000
    rewrite_bytes: int = 128 << 20
    keep_snapshots: int = 10
    expire_from: int = 10
    expire_at_most: int = 50
    grace_s: float = 600.0
    orphan_age_s: float = 86_400.0
    sweep_every_s: float = 3_600.0
