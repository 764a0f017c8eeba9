"""The binlog kernel against the reference in plain Python: the same rows, the same refusals, no crash.

Input: a byte of options (1: what follows is a packet stream as it is; 2: checksums are verified; the rest says which targets
columns get), then events, each as a type byte, 2 bytes of length and its body, which are framed and given checksums here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from forebay_agent.kernel import binlog, binlog_table
from forebay_agent.kernel.binlog import LogScanner
from forebay_agent.kernel.binlog_table import TableDecoder, WireColumn
from tests.fuzz.driver import main
from tests.reference.binlog import FORMAT, TABLE_MAP, Row, TableMap, event_of, made, packets, table_map
from tests.reference.binlog_followed import rows_of
from tests.reference.binlog_model import Model, layout
from tests.reference.binlog_values import UNFIT, Malformed, string_type

FILE: Final = "binlog.000007"
SKIPPED: Final = "skipped"
_LABELS: Final = (b"a", "中".encode(), b"", b"d,d", b"e", b"f", b"g")
_NUMBERS: Final = (
    binlog_table.INT32,
    binlog_table.INT64,
    binlog_table.DECIMAL,
    binlog_table.BOOL,
    binlog_table.TEXT,
)
_MOMENT: Final = (binlog_table.TIMESTAMP, binlog_table.TEXT)
_BYTES: Final = (binlog_table.BYTES, binlog_table.HEX)
_TARGETS: Final = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13, 247, 248), _NUMBERS),
    16: (*_NUMBERS, binlog_table.BYTES),
    4: (binlog_table.FLOAT, binlog_table.DOUBLE),
    5: (binlog_table.DOUBLE,),
    **dict.fromkeys((10, 14), (binlog_table.DATE, binlog_table.TEXT)),
    **dict.fromkeys((11, 19), (binlog_table.TEXT,)),
    **dict.fromkeys((7, 12, 17, 18), _MOMENT),
    **dict.fromkeys((15, 141, 253, 254, 140, 242, 245, 249, 250, 251, 252, 255), _BYTES),
}


def column(wire_type: int, metadata: bytes, choice: int) -> WireColumn:
    """One of the ways to read a column of this type."""
    kind, length = string_type(metadata) if wire_type in (247, 248, 254) else (wire_type, 0)
    targets = _TARGETS.get(kind, ())
    if kind == 246:
        exact = metadata[0] <= 38 and metadata[1] <= metadata[0]
        targets = (binlog_table.DECIMAL, binlog_table.TEXT) if exact else (binlog_table.TEXT,)
    elif kind == 254:
        addresses = {4: (binlog_table.INET4,), 16: (binlog_table.UUID, binlog_table.INET6)}
        targets = (*_BYTES, *addresses.get(length, ()))
    target = (binlog_table.SKIPPED, *targets)[choice % (len(targets) + 1)]
    if target == binlog_table.SKIPPED:
        return WireColumn(wire_type, metadata, target, key=choice % 3 == 0)
    exactly = (metadata[0] or 1, metadata[1]) if kind == 246 else (1 + choice % 20, 0)
    return WireColumn(
        wire_type,
        metadata,
        target,
        precision=exactly[0] if target == binlog_table.DECIMAL else 0,
        scale=exactly[1] if target == binlog_table.DECIMAL else 0,
        unsigned=choice % 2 == 1,
        key=choice % 3 == 0,
        zerofill=choice % 24 if target == binlog_table.TEXT else 0,
        labels=_LABELS[: 1 + choice % 7] if kind in (247, 248) else (),
        padded=kind == 254 and choice % 2 == 1 and target in _BYTES and wire_type == 254,
    )


class Chosen:
    """The columns of every table that comes, and whether the kernel can read it."""

    def __init__(self, choice: int) -> None:
        self.choice = choice
        self.columns: dict[bytes, list[WireColumn]] = {}
        self.decoders: dict[bytes, TableDecoder] = {}

    def __call__(self, found: TableMap) -> list[WireColumn] | None:
        """None: passed over. Raises Malformed when its types are not known or their metadata are none."""
        if found.table == SKIPPED:
            return None
        name = layout(found)
        if name not in self.columns:
            columns = [
                column(kind, metadata, self.choice + number)
                for number, (kind, metadata) in enumerate(zip(found.types, found.metadata, strict=True))
            ]
            try:
                self.decoders[name] = TableDecoder(columns)
            except ValueError:
                raise Malformed("types") from None
            self.columns[name] = columns
        return self.columns[name]


class Kernel:
    """The scanner, fed in steps. takes: (layout, first row, rows, unfit) of each time that rows were taken."""

    def __init__(self, scanner: LogScanner, chosen: Chosen) -> None:
        self.scanner = scanner
        self.chosen = chosen
        self.rows: dict[bytes, list[Row]] = {}
        self.takes: list[tuple[bytes, int, int, tuple[int, int] | None]] = []
        self.gtids: list[str] = []
        self.partial: list[int] = []

    def feed(self, stream: bytes, step: int) -> str:
        """All of it; -> why it was refused as malformed, or the empty text."""
        buffer = bytearray()
        at = 0
        try:
            while True:
                took = self.scanner.feed(buffer, 0, len(buffer))
                assert 0 <= took <= len(buffer)
                buffer = bytearray(memoryview(buffer)[took:])
                if self.scanner.stop == binlog.MORE:
                    if at >= len(stream):
                        return ""
                    # no byte more than there is: a checking allocator sees what reads beyond
                    buffer = bytearray(b"".join((buffer, stream[at : at + step])))
                    at += step
                elif self.scanner.stop in (binlog.ENDED, binlog.REFUSED):
                    return ""
                else:
                    self._stopped()
        except (ValueError, OverflowError) as error:
            return str(error)
        finally:
            self._take()

    def _stopped(self) -> None:
        if self.scanner.stop in (binlog.ENOUGH, binlog.FULL):
            self._take()
        elif self.scanner.stop == binlog.PARTIAL:
            self.partial.append(self.scanner.event_table)
        elif self.scanner.event_type == TABLE_MAP:
            body = self.scanner.event
            try:
                found = table_map(body)
                followed = self.chosen(found) is not None
            except Malformed:
                return
            decoder = self.chosen.decoders[layout(found)] if followed else None
            self.scanner.register(found.table_id, body, decoder)

    def _take(self) -> None:
        self.gtids += self.scanner.take_gtids()
        for name, decoder in self.chosen.decoders.items():
            rows = self.rows.setdefault(name, [])
            if decoder.rows:
                self.takes.append((name, len(rows), decoder.rows, decoder.unfit))
            rows += rows_of(decoder, self.chosen.columns[name])


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 3 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "little")
        if data[at] != FORMAT:  # it changes what follows; streams as they are have it
            yield data[at], data[at + 3 : at + 3 + size]
        at += 3 + size


def one(data: bytes) -> None:
    """Raises AssertionError when kernel and reference differ."""
    options = data[0] if data else 0
    step = (1 << 20, 97, 1 << 20, 5, 1 << 20)[options % 5]
    if options & 1:
        scanner = LogScanner(checksum=options & 2 == 0, verify=options & 4 == 0, max_event=1 << 20, long_packet=60)
    else:
        scanner = LogScanner(max_event=1 << 20, long_packet=60)
    scanner.set_file(FILE, 4)
    scanner.limits(2 + options % 5, 4096, 7, 1 << 16)
    kernel = Kernel(scanner, Chosen(options >> 3))
    if options & 1:
        kernel.feed(data[1:], step)
        return
    end = 4
    events = []
    for kind, body in records(data[1:]):
        end += 23 + len(body)
        events.append(made(kind, body, end=end))
    model = Model(FILE, Chosen(options >> 3))
    refused = kernel.feed(packets(events), step)
    failed = ""
    try:
        for raw in events:
            model.event(event_of(raw, checksum=True))
    except Malformed as error:
        failed = f"malformed: {error}"
    assert bool(refused) == bool(failed), f"the kernel says: {refused!r}, the reference: {failed!r}"
    compare(kernel, model, failed=bool(failed))


def compare(kernel: Kernel, model: Model, *, failed: bool) -> None:
    for name, rows in model.rows.items():
        found = kernel.rows.get(name, [])
        expected = [
            repr((row.op, row.position, row.committed_at, [None if v is UNFIT else v for v in row.values]))
            for row in rows
        ]
        got = [repr((row.op, row.position, row.committed_at, list(row.values))) for row in found]
        assert got[: len(expected)] == expected, (got, expected)
        assert failed or len(got) == len(expected)
    for name, first, count, unfit in kernel.takes:
        taken = model.rows.get(name, [])[first : first + count]
        places = [(row, at) for row, change in enumerate(taken) for at, v in enumerate(change.values) if v is UNFIT]
        assert failed or unfit == (places[0] if places else None), (unfit, places)
    assert kernel.partial == model.partial
    assert kernel.scanner.finished == model.finished
    assert failed or kernel.scanner.in_transaction == model.in_transaction
    assert failed or kernel.scanner.open_rows == model.open_rows


if __name__ == "__main__":
    main("binlog", one)
