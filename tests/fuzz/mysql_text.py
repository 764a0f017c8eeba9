"""The kernel of MySQL text rows against the reference in plain Python, fed at once and in steps.

Input: a byte for the columns, a byte for the step, then the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forebay_agent.kernel import mysql_text as kernel
from forebay_agent.kernel.mysql_text import TextRows
from tests.fuzz.driver import main
from tests.reference.mysql_text import Result, decoded

if TYPE_CHECKING:
    from forebay_agent.kernel.mysql_text import Buffers, Kind

SEQUENCE: Final = 7
_BYTES: Final = (kernel.BYTES, 0, 0)
_COLUMNS: Final[tuple[tuple[Kind, ...], ...]] = (
    (_BYTES,),
    ((kernel.INT32, 0, 0), (kernel.INT64, 0, 0), _BYTES),
    ((kernel.DECIMAL, 38, 10), (kernel.DECIMAL, 5, 5), (kernel.DATE, 0, 0)),
    ((kernel.TIMESTAMP, 0, 0), _BYTES, (kernel.DECIMAL, 18, 2)),
)
_WIDTHS: Final = {kernel.INT32: 4, kernel.INT64: 8, kernel.DECIMAL: 16, kernel.DATE: 4, kernel.TIMESTAMP: 8}
_MOST_ROWS: Final = 3


def one(data: bytes) -> None:
    kinds = _COLUMNS[data[0] % len(_COLUMNS)] if data else _COLUMNS[0]
    step = data[1] + 1 if len(data) > 1 else 1
    stream = data[2:]
    expected = decoded(kinds, stream, SEQUENCE)
    _same(_fed(kinds, stream, len(stream) or 1), expected)
    _same(_fed(kinds, stream, step), expected)


def _same(came: Result, expected: Result) -> None:
    assert (came.ended, came.error, came.malformed) == (expected.ended, expected.error, expected.malformed)
    count = len(came.rows) if came.malformed else len(expected.rows)  # what was not taken before an error is lost
    assert came.rows == expected.rows[:count]
    assert came.unfit == (expected.unfit if expected.unfit and expected.unfit[0] < count else None)


def _fed(kinds: tuple[Kind, ...], stream: bytes, step: int) -> Result:
    """As a socket's reader does it: `step` bytes more whenever the kernel can go on with no less."""
    came = Result()
    rows = TextRows(kinds, SEQUENCE, max_rows=_MOST_ROWS)
    buffer = bytearray()
    at = 0
    while True:
        try:
            consumed = rows.feed(buffer, 0, len(buffer))
        except ValueError:
            came.malformed = True
            return came
        _take(rows, kinds, came)
        del buffer[:consumed]
        if rows.ended:
            came.ended, came.error = True, rows.error
            return came
        if consumed and buffer:
            continue
        if at >= len(stream):
            return came
        buffer += stream[at : at + step]
        at += step


def _take(rows: TextRows, kinds: tuple[Kind, ...], came: Result) -> None:
    count, unfit = rows.rows, rows.unfit
    if unfit is not None and unfit[0] < count:
        came.unfit = came.unfit or (len(came.rows) + unfit[0], unfit[1])
    columns = [_values(kind, buffers, count) for kind, buffers in zip(kinds, rows.take(), strict=True)]
    came.rows.extend([list(row) for row in zip(*columns, strict=True)])


def _values(kind: Kind, buffers: Buffers, count: int) -> list[bytes | int | None]:
    valid, offsets, data = buffers
    values: list[bytes | int | None] = []
    for row in range(count):
        if valid is not None and not valid[row >> 3] >> (row & 7) & 1:
            values.append(None)
        elif offsets is not None:
            begin, end = (int.from_bytes(offsets[4 * at : 4 * at + 4], "little") for at in (row, row + 1))
            values.append(data[begin:end])
        else:
            width = _WIDTHS[kind[0]]
            values.append(int.from_bytes(data[row * width : (row + 1) * width], "little", signed=True))
    return values


if __name__ == "__main__":
    main("mysql_text", one)
