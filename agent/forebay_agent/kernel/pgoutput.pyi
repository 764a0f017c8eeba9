"""PostgreSQL's logical replication stream (output plugin pgoutput) -> Arrow record batches.

A `LogScanner` reads one replication connection; a `TableDecoder` per followed table collects its changes:

    decoder = TableDecoder(schema, places=[0, 1, 3], width=4, keys=[0])
    scanner = LogScanner()
    match scanner.drain(libpq.copy_functions(), libpq.address(pgconn), wait_ms=200):
        case MESSAGE: ...   # scanner.message: a Relation message is answered with scanner.register(message, decoder)
        case FULL: ...      # decoder.take() of each table in log order

Both are used by one thread; `drain`, `feed` and `replay` run without the interpreter's lock. Malformed input raises
ValueError that names the message's type and LSN, and leaves no part of a row behind; the scanner is then of no more use
(what the decoders hold of messages before is whole). Messages: PostgreSQL manual, "Logical Replication Message
Formats", protocol versions 1 to 4, values in text format.
"""

from collections.abc import Iterable
from typing import Final

from forebay_agent.kernel.pgoutput_table import AS_SENT as AS_SENT
from forebay_agent.kernel.pgoutput_table import TRUE_FALSE as TRUE_FALSE
from forebay_agent.kernel.pgoutput_table import WITH_NETMASK as WITH_NETMASK
from forebay_agent.kernel.pgoutput_table import TableDecoder as TableDecoder

# What `drain`, `feed` and `replay` came to.
WAITING: Final[int]
"""drain: the time is over, or a signal came. feed: the message is done with. replay: all messages are done with."""
FULL: Final[int]
"""One table holds `most_rows` rows, or all hold `most_bytes` bytes, at a transaction's end where one came before a
quarter more."""
UNFIT: Final[int]
"""A value that does not fit its column came last: see `TableDecoder.unfit`. Comes again until that table's rows are
taken."""
MESSAGE: Final[int]
"""`LogScanner.message` is for the caller: nothing was done with it."""
SEGMENT: Final[int]
"""A stream segment has ended, or grew to `segment_bytes`: `take_segment`. Comes again until it is taken."""
REPLY: Final[int]
"""The server asks for a standby status update at once."""
ENDED: Final[int]
"""drain: the server ended the COPY; libpq holds its result."""
LOST: Final[int]
"""drain: the connection broke; libpq holds the reason."""

class LogScanner:
    """Reads the stream of one replication connection, from START_REPLICATION on (protocol versions 1 to 4).

    most_rows, most_bytes: when it is FULL. segment_bytes: when a part of a stream segment is handed out before its end.
    each_relation: every Relation message stops with MESSAGE, the registered one too. The server sends one again when the
    relation was altered in any way, and in each streamed transaction.

    Done without the caller: Begin, Commit, Origin, Type, Insert, Update, Delete, Relation messages equal to the
    registered one (byte by byte, without the xid of a streamed transaction), keepalives that ask for no reply.

    Stops with MESSAGE: any other Relation (`R`), Truncate (`T`), logical decoding message (`M`), Stream Commit (`c`),
    Stream Abort (`A`), two-phase (`b` `P` `K` `r` `p`), and every type that it does not know. A change of a relation
    that was not registered is malformed: the server sends the Relation message first.

    Streamed transactions (protocol 2 and later). Between Stream Start and Stream Stop messages are kept as they are,
    whatever their type, and handed out with SEGMENT; the caller puts them aside by xid. At Stream Abort it forgets
    them, or, when the two xids of that message differ, remembers the second as aborted. At Stream Commit:

        scanner.begin_streamed(message, aborted)
        for frames in segments:
            at = 0
            while at < len(frames):
                stop, at = scanner.replay(frames, at)     # FULL, UNFIT, MESSAGE as from drain, or WAITING at the end
        scanner.end_streamed()
    """

    most_rows: int
    most_bytes: int

    def __init__(
        self,
        most_rows: int = 25_000,
        most_bytes: int = ...,
        segment_bytes: int = ...,
        each_relation: bool = False,
    ) -> None: ...

    # Where it stands. LSNs are integers; times are microseconds since 1970.
    @property
    def open(self) -> bool:
        """Whether a transaction has begun whose Commit has not come."""

    @property
    def in_segment(self) -> bool:
        """Whether a stream segment has begun and not ended."""

    @property
    def xid(self) -> int:
        """The current transaction's, or the last one's; likewise `final_lsn` and `committed_at`. 0 before the first."""

    @property
    def final_lsn(self) -> int:
        """Its commit record's LSN, which is its rows' position."""

    @property
    def committed_at(self) -> int: ...
    @property
    def commit_end(self) -> int:
        """The end LSN of the last transaction that was finished: what may be acknowledged once it is durable. 0 before
        the first."""

    @property
    def transactions(self) -> int:
        """How many transactions were finished, those of other tables and empty ones too."""

    @property
    def changes(self) -> int:
        """How many Insert, Update and Delete messages came, of skipped tables too."""

    @property
    def keepalive_end(self) -> int:
        """The last keepalive's end of WAL: everything that was committed before it was sent. 0 before the first."""

    @property
    def lsn(self) -> int:
        """The LSN of the last message (the WAL start of its XLogData) that had one; Relation messages have none."""

    @property
    def message(self) -> bytes | None:
        """After MESSAGE: the message, from its type byte on, without the xid that streamed transactions add; until the
        next `drain`, `feed` or `replay`."""

    def register(self, message: bytes, decoder: TableDecoder | None) -> None:
        """From here on the changes of the relation that this Relation message describes go to the decoder, or are
        skipped (None). Takes the place of what was registered for it. Raises ValueError when the message is no Relation
        message or has another number of columns than the decoder."""

    def forget(self, relation: int) -> None:
        """A relation is no longer registered; its next Relation message stops with MESSAGE. Unknown ones are ignored.
        The server sends the message again only after the relation changed: to stop following, register it with None."""

    def drain(self, libpq: tuple[int, int, int, int], connection: int, wait_ms: int) -> int:
        """Reads and decodes until there is a reason to stop, or `wait_ms` have passed since the call (0: only what has
        already arrived).

        libpq: the addresses of PQgetCopyData, PQfreemem, PQconsumeInput and PQsocket; connection: of a PGconn in state
        COPY BOTH. Raises ValueError when malformed, MemoryError when one column would take 2 GiB.
        """

    def feed(self, message: bytes, lsn: int = 0, streamed: bool = False) -> int:
        """Decodes one message, from its type byte on (without XLogData's header). lsn: where it stands, for errors and
        `lsn`; 0: not known. streamed: with the xid of a streamed transaction after the type byte; it is decoded like
        any other and not kept. Raises as `drain`."""

    def take_segment(self) -> tuple[int, bytes]:
        """(xid of the top transaction, messages) since the last call: frames for `replay`, each 4 bytes length, 8 bytes
        LSN (little-endian), message with xid."""

    def begin_streamed(self, message: bytes, aborted: Iterable[int] = ()) -> None:
        """Begins the transaction of a Stream Commit message (`c`); messages of the xids in `aborted` are left out."""

    def replay(self, frames: bytes, start: int = 0) -> tuple[int, int]:
        """Decodes frames from this offset until there is a reason to stop; -> (reason, offset after the last
        message)."""

    def end_streamed(self) -> None:
        """Ends the transaction that `begin_streamed` began, as Commit does."""

    def take_xids(self) -> bytes:
        """Of the transactions that were finished since the last call, in order: native 32-bit numbers. To be called now
        and then, so that they do not grow without end."""
