"""Digests of the platform's tables, as they were read: a state that readers still see need not be read again.

One per stream and part. `state` names what was read: the platform's version of it and the schema's fingerprint; any other
writer's commit makes another. What was kept for longer than `KEPT` is read anew, so that a damaged file does not stay
unnoticed behind a digest of when it was whole.
"""

from __future__ import annotations

import struct
from datetime import timedelta
from typing import Final

import zstandard
from sqlalchemy import ColumnElement, delete, insert, select

from forebay_collector.ledger import verify_tables as tables
from forebay_collector.ledger.database import Database
from forebay_wire.canonical import DIGEST_BYTES, TableDigest
from forebay_wire.part import Part
from forebay_wire.stream import StreamName

KEPT: Final = timedelta(days=7)
_CELL: Final = struct.Struct(f">Q{DIGEST_BYTES}s")


class Digests:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, stream: StreamName, part: Part, state: str, cells: int) -> TableDigest | None:
        """None: this state was not read, or too long ago."""
        kept = tables.platform_digest.c
        since = self._database.clock() - KEPT // timedelta(microseconds=1)
        query = select(kept.content).where(
            *_of(stream, part), kept.state == state, kept.cells == cells, kept.read_at >= since
        )
        with self._database.read() as connection:
            content = connection.execute(query).scalar_one_or_none()
        if content is None:
            return None
        table = TableDigest(cells)
        told = zstandard.decompress(content, max_output_size=cells * _CELL.size)
        for number, (rows, digest) in enumerate(_CELL.iter_unpack(told)):
            if rows:
                table.put(number, rows, digest)
        return table

    def put(self, stream: StreamName, part: Part, state: str, table: TableDigest) -> None:
        """Keeps what was read just now; what was kept of other states of the stream goes."""
        kept = tables.platform_digest.c
        told = b"".join(
            _CELL.pack(rows, total.to_bytes(DIGEST_BYTES, "big"))
            for rows, total in zip(table.rows, table.sums, strict=True)
        )
        values = {
            "stream": str(stream),
            "part_after": part.after or "",
            "part_through": part.through or "",
            "state": state,
            "cells": table.cells,
            "content": zstandard.compress(told, 1),
            "read_at": self._database.clock(),
        }
        with self._database.write() as connection:
            connection.execute(delete(tables.platform_digest).where(kept.stream == str(stream), kept.state != state))
            connection.execute(delete(tables.platform_digest).where(*_of(stream, part)))
            connection.execute(insert(tables.platform_digest).values(**values))


def _of(stream: StreamName, part: Part) -> tuple[ColumnElement[bool], ...]:
    kept = tables.platform_digest.c
    return (
        kept.stream == str(stream),
        kept.part_after == (part.after or ""),
        kept.part_through == (part.through or ""),
    )
