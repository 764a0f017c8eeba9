"""The kernel of binary COPY against the reference in plain Python, fed at once and in steps.

Input: a byte for the columns, a byte for the step, then the stream.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from forebay_agent.kernel.postgresql_copy import CopyDecoder
from tests.fuzz.driver import main
from tests.reference.pgoutput import plain_rows
from tests.reference.postgresql_copy import Result, decoded

_COLUMNS: Final = (
    [pa.int32(), pa.string()],
    [pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.binary()],
    [pa.decimal128(38, 10), pa.decimal128(5, 5), pa.decimal128(18, 0)],
    [pa.date32(), pa.timestamp("us"), pa.timestamp("us", tz="UTC"), pa.string()],
)
_UUID: Final = pa.string()
_UUIDS: Final = 3
"""the columns whose string is a uuid's text"""


def one(data: bytes) -> None:
    which = data[0] % len(_COLUMNS) if data else 0
    schema = pa.schema([(f"c{number}", kind) for number, kind in enumerate(_COLUMNS[which])])
    uuids = [which == _UUIDS and kind == _UUID for kind in schema.types]
    step = data[1] + 1 if len(data) > 1 else 1
    stream = data[2:]
    expected = decoded(schema, uuids, stream)
    _same(_fed(schema, uuids, stream, len(stream) or 1), expected)
    _same(_fed(schema, uuids, stream, step), expected)


def _same(came: Result, expected: Result) -> None:
    count = len(came.rows) if came.malformed else len(expected.rows)  # what was not taken before an error is lost
    assert came.malformed == expected.malformed
    assert came.malformed or came.ended == expected.ended
    assert came.rows == expected.rows[:count]
    assert came.unfit == (expected.unfit if expected.unfit and expected.unfit[0] < count else None)


def _fed(schema: pa.Schema, uuids: list[bool], stream: bytes, step: int) -> Result:
    came = Result()
    decoder = CopyDecoder(schema, uuids, most_rows=3)
    for at in range(0, len(stream), step):
        try:
            decoder.feed(stream[at : at + step])
        except ValueError:
            came.malformed = True
            return came
        unfit = decoder.unfit
        if unfit is not None:
            came.unfit = came.unfit or (len(came.rows) + unfit[0], unfit[1])
        batch = decoder.take()
        batch.validate(full=pa.string() not in schema.types)
        came.rows.extend(plain_rows([batch]))
    came.ended = decoder.ended
    return came


if __name__ == "__main__":
    main("postgresql_copy", one)
