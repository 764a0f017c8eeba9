"""The replication stream of MySQL and MariaDB: packets in, rows of Arrow out (into the decoders of `binlog_table`); what needs
judgement stops for Python."""

from typing import Final

from forebay_agent.kernel.binlog_table import TableDecoder

# why `feed` or `decode_event` came back: `LogScanner.stop`
MORE: Final[int]
"""All whole packets are eaten. Read on; `wanted` says how long the next packet is."""
EVENT: Final[int]
"""An event that Python must judge; it is eaten. `event_type`, `event` and the like describe it. Then go on, after `register`,
`set_file`, `begin`, `finish` or `decode_event` where it calls for one of them."""
ENOUGH: Final[int]
"""The first pair of limits is reached, and a transaction has just ended. Take the rows, then go on."""
FULL: Final[int]
"""The second pair of limits is reached, in mid-transaction or even in mid-event. Take the rows of every decoder, then go on
from the same place: the same bytes again in `feed`, the same event from the returned offset in `decode_event`."""
PARTIAL: Final[int]
"""A row event whose images lack columns that are captured or key columns (`binlog_row_image` is not FULL). The event is
eaten, none of it was decoded. `event_table` is its table id: the table is lost, register None for it."""
ENDED: Final[int]
"""The server has ended the stream (an EOF packet). Nothing follows."""
REFUSED: Final[int]
"""The server has sent an ERR packet, see `error`. Nothing follows."""

def rows_at(event_type: int, body: bytes) -> int:
    """Where in a row event's body (types 23 to 25, 30 to 32, 166 to 171) its row images begin, after table id, flags, extra
    data, width and bitmaps. From there on MariaDB's compressed events (166 to 171) are compressed. Raises ValueError."""

class LogScanner:
    """Eats the packets that follow COM_BINLOG_DUMP (no semi-synchronous replication) and fills the tables' decoders.

    Handled without Python: WRITE, UPDATE and DELETE_ROWS v1 and v2 of tables registered; any row event of a table registered
    as None; TABLE_MAP that is byte by byte the one registered for its id; GTIDs (MariaDB's 162 without XA flags, MySQL's 33
    and 34); XID; QUERY `BEGIN` and `COMMIT`; ANNOTATE_ROWS and ROWS_QUERY; heartbeats (27, 41). Everything else is an EVENT.

    A table id counts only in the transaction in which its TABLE_MAP was seen; row events of any other id are an EVENT.
    Checksums: whether events carry them is read from each FORMAT_DESCRIPTION, which then is handed over as an EVENT.
    """

    def __init__(
        self,
        *,
        sequence: int = 1,
        checksum: bool = True,
        verify: bool = True,
        max_event: int = ...,
        long_packet: int = 65_536,
    ) -> None:
        """sequence: of the first packet. checksum: whether events carry a CRC32 before a FORMAT_DESCRIPTION has said so.
        verify: check it. max_event: the longest event that is accepted, in bytes (1 GiB + 1 MiB). long_packet: from this length
        on, row events of tables registered as None are eaten before all of them is there."""
    def limits(self, rows: int, size: int, most_rows: int, most_size: int) -> None:
        """rows, size: ENOUGH at the first end of a transaction at which a table has so many rows or all tables together so
        many bytes of Arrow. most_rows, most_size: FULL as soon as they have (a row event may pass the bytes by some rows).
        At the start 25,000 rows, 16 MiB, 100,000 rows and 32 MiB."""
    def feed(self, buffer: bytearray | memoryview, start: int, end: int) -> int:
        """Takes whole packets from buffer[start:end] until `stop`; -> where it stopped. What it took may be overwritten, what
        it left must come first in the next call; a packet split at 16 MiB is joined in place. Long events of tables
        registered as None are eaten as they come, in parts.

        Raises ValueError (malformed, with file, event, place and reason; a checksum that is wrong), OverflowError (an event
        longer than `max_event`), MemoryError. The scanner is of no more use then.
        """
    def decode_event(self, event_type: int, body: bytes | bytearray | memoryview, start: int = 0) -> int:
        """Does with an event's body (no header, no checksum) what `feed` would: for what was inflated, taken out of a MySQL
        transaction payload, or kept aside. Its rows get position and commit time of the current event and transaction.

        -> where it stopped: len(body), or with `stop` == FULL the place to give as `start` with the same body after the rows
        were taken. `stop` is MORE when all went well, EVENT when Python must judge (only `event_type` and `event_table` tell
        of it, `event` is empty: the caller holds the body), ENOUGH, PARTIAL as above. Raises as `feed`.
        """
    def register(self, table_id: int, body: bytes, decoder: TableDecoder | None) -> None:
        """From here on (and in the current transaction) rows of this id belong to `decoder`, or are passed over. body: the
        TABLE_MAP's, as `event` gave it. One decoder may stand for many ids.

        Raises ValueError when the body is not a TABLE_MAP of this id, or its column types and metadata are not the decoder's.
        """
    def forget(self) -> None:
        """No table id is known any more: each TABLE_MAP is an EVENT again. (Ids long unused are forgotten by themselves.)"""
    def named(self) -> set[int]:
        """Ids whose TABLE_MAP the transaction at hand brought, of those that are known: rows of them may come without another."""
    def set_file(self, name: str, position: int) -> None:
        """The events to come stand in this file, from this offset on."""
    def begin(self, gtid: str, committed_at_us: int) -> None:
        """A transaction begins that Python has recognised. gtid: as `gtid`, empty for none. committed_at_us: 0 when not known.

        Raises ValueError when it is no GTID, or while a transaction is open that has rows."""
    def abandon(self) -> None:
        """The current transaction never ended: the server stopped in the middle of it. Its rows are the caller's to drop."""
    def finish(self) -> bool:
        """The current event ends the transaction, as Python has recognised: DDL that stands alone, ROLLBACK, XA PREPARE …
        -> whether this is ENOUGH (`stop` stays as it is)."""

    # where it stands
    @property
    def stop(self) -> int:
        """MORE, EVENT … REFUSED."""
    @property
    def wanted(self) -> int:
        """With MORE: the least number of bytes that the next packets have together, as far as can be told (at least 4)."""
    @property
    def error(self) -> bytes | None:
        """The ERR packet's payload."""
    @property
    def file(self) -> str: ...
    @property
    def position(self) -> int:
        """The end of the last event in its file, also past 4 GiB."""
    @property
    def gtid(self) -> str:
        """Of the current or last transaction: `0-1-42`, `3e11fa47-71ca-11e1-9e33-c80aa9429562:23`, or empty."""
    @property
    def committed_at_us(self) -> int:
        """Of the current or last transaction; 0 when it does not say. MariaDB: whole seconds."""
    @property
    def in_transaction(self) -> bool: ...
    @property
    def gtid_flags(self) -> int:
        """Of the current transaction's GTID event: MariaDB's flags2 (1 stands alone, 32 DDL, 64 XA prepared, 128 XA completed),
        and its extra flags << 8 (2 START ALTER, 4 COMMIT ALTER, 8 ROLLBACK ALTER; 1 says nothing of the rows); MySQL's flags
        byte."""
    @property
    def open_rows(self) -> int:
        """Rows decoded since the last transaction ended, taken or not."""
    @property
    def finished(self) -> int:
        """How many transactions have ended since the scanner was made."""
    @property
    def finished_at(self) -> tuple[str, int]:
        """(file, end offset) of the last transaction that ended; at first what the first `set_file` said."""
    @property
    def finished_gtid(self) -> str: ...
    @property
    def finished_committed_at_us(self) -> int: ...
    def take_gtids(self) -> list[str]:
        """What ended since the last call, to add to a checkpoint: MariaDB's last GTID per domain (`0-1-42`), MySQL's sets
        (`3e11fa47-71ca-11e1-9e33-c80aa9429562:23-40`), in order of appearance."""
    @property
    def heartbeats(self) -> int:
        """How many were seen."""
    @property
    def heartbeat_at(self) -> tuple[str, int]:
        """(file, offset) that the last one told; ('', 0) at first. All that stands before was sent."""
    @property
    def rows(self) -> int:
        """The largest number of rows that a decoder has filled since the limits were last set or rows were last taken."""
    @property
    def checksum(self) -> bool: ...
    @property
    def each_end(self) -> bool:
        """ENOUGH at every transaction's end, from the next call on. At the start False."""
    @each_end.setter
    def each_end(self, value: bool) -> None: ...

    # the event that it stopped at
    @property
    def event_type(self) -> int: ...
    @property
    def event_flags(self) -> int:
        """Of the event's header; 0x20: artificial."""
    @property
    def event_server_id(self) -> int: ...
    @property
    def event_timestamp(self) -> int:
        """Seconds since 1970."""
    @property
    def event_position(self) -> int:
        """Where the event begins in its file (0 for an artificial one)."""
    @property
    def event_table(self) -> int:
        """The table id of a TABLE_MAP or row event, else 0."""
    @property
    def event(self) -> bytes:
        """Its body, without header and checksum."""
