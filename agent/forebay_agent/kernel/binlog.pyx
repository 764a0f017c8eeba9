# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True, initializedcheck=False
"""The replication stream of MySQL and MariaDB: packets in, rows of Arrow out (into the decoders of `binlog_table`); what needs
judgement stops for Python. Formats: binlog_events.pxd, binlog_rows.pxd, binlog_layout.pxd; what users see: binlog.pyi.

Nothing that the server sends is trusted: every length is checked against its event, every event against its packet and its
checksum, and rows are read only by a TABLE_MAP that was seen in their own transaction.
"""
import re

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from forebay_agent.kernel.binlog_checksum cimport prepare_checksums
from forebay_agent.kernel.binlog_events cimport (
    EVENT_HEADER, HEADER, Interval, MOST_GTID, MOST_NAME, TABLE_MAP, is_rows, table_layout, write_identifier,
    write_uuid,
)
from forebay_agent.kernel.binlog_ids cimport Entry, find, place_of, resize
from forebay_agent.kernel.binlog_layout cimport (
    BAD_CHECKSUM, BAD_DIGITS, BAD_FORMAT, BAD_FRACTION, BAD_LENGTH, BAD_OFFSET, BAD_SEQUENCE, BAD_SIZE, BAD_STATUS,
    BAD_WIDTH, CUT, HUGE_EVENT, IN_TRANSACTION, NOT_IN_TRANSACTION, NO_MEMORY, TOO_LONG, little, write_number,
)
from forebay_agent.kernel.binlog_packets cimport consume, next_packet, pass_more, pass_over
from forebay_agent.kernel.binlog_rows cimport RowsHeader, read_rows_header
from forebay_agent.kernel.binlog_scan cimport may_pass_over, read_header, scan_body, scan_payload
from forebay_agent.kernel.binlog_standing cimport Standing
from forebay_agent.kernel.binlog_state cimport (
    GO, MOST_ENDED, STOP_ENDED, STOP_ENOUGH, STOP_EVENT, STOP_FULL, STOP_PARTIAL, STOP_REFUSED, Scan,
    begin, finish, write_prefix,
)
from forebay_agent.kernel.binlog_table cimport TableDecoder

cdef enum:
    # more table ids than these are known only while one transaction uses them all
    MOST_IDS = 1 << 14

MORE = GO
EVENT = STOP_EVENT
ENOUGH = STOP_ENOUGH
FULL = STOP_FULL
PARTIAL = STOP_PARTIAL
ENDED = STOP_ENDED
REFUSED = STOP_REFUSED

_REASONS = {
    CUT: "it is cut short",
    TOO_LONG: "a value is longer than its column",
    BAD_DIGITS: "a decimal is not well formed",
    BAD_FRACTION: "a fraction of a second is not well formed",
    BAD_WIDTH: "the number of columns is not the table's",
    BAD_LENGTH: "the length of its extra data is not possible",
    BAD_OFFSET: "no row begins where it is to go on",
    BAD_SEQUENCE: "a packet is out of sequence",
    BAD_STATUS: "a packet holds no event",
    BAD_SIZE: "its size is not that of its packet",
    BAD_CHECKSUM: "its checksum is wrong",
    BAD_FORMAT: "a form of log that is not known",
    NOT_IN_TRANSACTION: "rows stand outside any transaction",
    IN_TRANSACTION: "a transaction begins before the one before it has ended",
}
_MARIADB = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})")
_MYSQL = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,19})")

prepare_checksums()


def rows_at(int event_type, const uint8_t[::1] body):
    cdef RowsHeader header
    cdef int kind = event_type if event_type < 166 else event_type - 143 if event_type < 169 else event_type - 139
    cdef int outcome = CUT
    if not is_rows(kind):
        raise ValueError(f"event type {event_type} holds no rows")
    if body.shape[0]:
        outcome = read_rows_header(kind, &body[0], body.shape[0], &header)
    if outcome < 0:
        raise ValueError(f"event type {event_type}: {_REASONS[outcome]}")
    return header.rows


cdef class LogScanner(Standing):
    cdef dict owners    # table id -> (body, decoder)
    cdef dict decoders  # decoder -> how many ids stand for it
    cdef bint broken
    cdef readonly int stop
    cdef readonly object error
    cdef readonly bytes event

    def __cinit__(
        self,
        *,
        int sequence=1,
        bint checksum=True,
        bint verify=True,
        size_t max_event=(1 << 30) + (1 << 20),
        size_t long_packet=1 << 16,
    ):
        self.scan.packets.sequence = sequence & 0xff
        self.scan.packets.most = max_event + 1
        self.scan.packets.long_packet = long_packet
        self.scan.packets.wanted = HEADER
        self.scan.checksum = checksum
        self.scan.verify = verify
        self.scan.bad_column = -1
        self.owners = {}
        self.decoders = {}
        self.event = b""
        self.limits(25_000, 16 << 20, 100_000, 32 << 20)

    def __dealloc__(self):
        free(self.scan.ids.entries)
        free(self.scan.ended.items)

    def limits(self, int64_t rows, int64_t size, int64_t most_rows, int64_t most_size):
        if not (0 < rows <= most_rows and 0 < size <= most_size):
            raise ValueError(f"no limits: {rows} rows, {size} bytes; {most_rows} rows, {most_size} bytes")
        self.scan.enough_rows = rows
        self.scan.enough_size = size
        self.scan.most_rows = most_rows
        self.scan.most_size = most_size

    def feed(self, uint8_t[::1] buffer, Py_ssize_t start, Py_ssize_t end):
        cdef Py_ssize_t position = start
        cdef int outcome = GO
        if not 0 <= start <= end <= buffer.shape[0]:
            raise ValueError(f"no range of the buffer: {start} to {end} of {buffer.shape[0]}")
        self.ready()
        if start == end:
            self.stop = GO
            return start
        cdef uint8_t* base = &buffer[0]
        with nogil:
            position = self.eat(base, start, end, &outcome)
        self.stop = self.settle(outcome)
        if outcome == STOP_EVENT:
            self.event = PyBytes_FromStringAndSize(<char*>self.scan.body, self.scan.body_size)
        elif outcome == STOP_REFUSED:
            self.error = PyBytes_FromStringAndSize(<char*>self.scan.body, self.scan.body_size)
        self.broken = outcome == STOP_REFUSED or outcome == STOP_ENDED
        return position

    cdef Py_ssize_t eat(self, uint8_t* base, Py_ssize_t start, Py_ssize_t end, int* outcome) noexcept nogil:
        """Whole packets of base[start:end] until there is a reason to stop; -> where it stopped."""
        cdef Scan* s = &self.scan
        cdef Py_ssize_t position = start
        cdef Py_ssize_t taken = 0
        cdef size_t size = 0
        while True:
            if s.packets.passing:
                outcome[0] = pass_more(&s.packets, base + position, end - position, &taken)
                position += taken
                if outcome[0] < 0 or s.packets.passing:
                    return position
                continue
            outcome[0] = next_packet(&s.packets, base + position, end - position, &taken, &size)
            if outcome[0] < 0:
                return position
            if taken == 0:
                if not may_pass_over(s, base + position, end - position):
                    return position
                outcome[0] = self.begin_passing(base + position)
                if outcome[0] < 0:
                    return position
                position += HEADER + 1
                continue
            outcome[0] = scan_payload(s, base + position + HEADER, size)
            if outcome[0] < 0 or outcome[0] == STOP_FULL:
                return position
            consume(&s.packets)
            position += taken
            if outcome[0] != GO:
                return position

    cdef int begin_passing(self, const uint8_t* packet) noexcept nogil:
        cdef const uint8_t* event = packet + HEADER + 1
        cdef size_t size = <size_t>little(event + 9, 4)
        cdef int outcome
        if size < EVENT_HEADER:
            return BAD_SIZE
        read_header(&self.scan, event, size)
        outcome = pass_over(&self.scan.packets, packet, size, self.scan.checksum and self.scan.verify)
        self.scan.packets.packet_left -= 1  # the status byte
        return outcome

    def decode_event(self, int event_type, const uint8_t[::1] body, Py_ssize_t start=0):
        cdef int outcome = CUT
        cdef Scan* s = &self.scan
        cdef const uint8_t* text
        cdef size_t size = body.shape[0]
        if not 0 <= start <= body.shape[0]:
            raise ValueError(f"no place in the event: {start} of {size}")
        self.ready()
        s.bad_column = -1
        s.bad_offset = 0
        if size:
            text = &body[0]
            with nogil:
                outcome = scan_body(s, event_type, text, size, start)
        self.stop = self.settle(outcome)
        start = s.resume if outcome == STOP_FULL else body.shape[0]
        s.resume = 0
        return start

    cdef ready(self):
        """What was decoded since the rows were taken."""
        cdef TableDecoder decoder
        cdef Scan* s = &self.scan
        if self.broken:
            raise ValueError("the stream has ended, or was malformed: nothing more can be read")
        s.size = 0
        s.rows = 0
        for decoder in self.decoders:
            s.size += decoder.table.size
            s.rows = max(s.rows, decoder.table.rows)
        s.filled = (
            s.each_end or s.rows >= s.enough_rows or s.size >= s.enough_size or s.ended.count >= MOST_ENDED
        )
        self.event = b""

    cdef int settle(self, int outcome) except -1:
        """Closes what has ended. Raises what `outcome` says, else returns it."""
        cdef Scan* s = &self.scan
        self.close_transactions()
        if outcome >= 0:
            return outcome
        self.broken = True
        if outcome == NO_MEMORY:
            raise MemoryError("memory is exhausted, or a column of one batch would take more than 2 GiB")
        if outcome == HUGE_EVENT:
            raise OverflowError(f"{self.file}, after {s.position}: an event is longer than {s.packets.most - 1} bytes")
        column = "" if s.bad_column < 0 else f", byte {s.bad_offset} of its body, column {s.bad_column}"
        raise ValueError(
            f"{self.file}, event at {s.event_position} (the last one ends at {s.position}; type {s.kind}, server {s.server})"
            f"{column}: {_REASONS[outcome]}"
        )

    cdef close_transactions(self):
        """Rows of a transaction that has ended are no longer open."""
        cdef TableDecoder decoder
        cdef uint64_t open_one = self.scan.serial if self.scan.in_transaction else 0
        for decoder in self.decoders:
            if decoder.table.transaction != open_one:
                decoder.table.transaction = 0

    def register(self, uint64_t table_id, bytes body, TableDecoder decoder):
        cdef const uint8_t* text = body
        cdef size_t types, count, metadata, length
        cdef Entry* entry
        if len(body) < 8 or little(text, 6) != table_id or table_layout(text, len(body), &types, &count, &metadata, &length):
            raise ValueError(f"not the TABLE_MAP of table id {table_id}")
        if decoder is not None and (
            count != <size_t>decoder.table.count
            or body[types : types + count] + body[metadata : metadata + length] != decoder.layout
        ):
            raise ValueError(f"the columns of table id {table_id} are not laid out as the decoder's")
        if find(&self.scan.ids, table_id) == NULL:
            self.make_room()
            self.scan.ids.count += 1
        entry = place_of(&self.scan.ids, table_id)
        self.disown(table_id)
        self.owners[table_id] = (body, decoder)
        if decoder is not None:
            self.decoders[decoder] = self.decoders.get(decoder, 0) + 1
        entry.used = True
        entry.id = table_id
        entry.body = text
        entry.size = len(body)
        entry.table = NULL if decoder is None else &decoder.table
        entry.transaction = self.scan.serial

    cdef make_room(self):
        """For one more table id."""
        cdef size_t capacity = self.scan.ids.capacity
        if capacity and 2 * (self.scan.ids.count + 1) <= capacity:
            return
        if capacity >= 2 * MOST_IDS:
            if resize(&self.scan.ids, capacity, self.scan.serial) != 0:
                raise MemoryError
            for table_id in [table_id for table_id in self.owners if find(&self.scan.ids, table_id) == NULL]:
                self.disown(table_id)
        if 4 * (self.scan.ids.count + 1) > capacity and resize(&self.scan.ids, capacity * 2 or 64, 0) != 0:
            raise MemoryError

    cdef disown(self, table_id):
        _, decoder = self.owners.pop(table_id, (None, None))
        if decoder is not None:
            self.decoders[decoder] -= 1
            if not self.decoders[decoder]:
                del self.decoders[decoder]

    def forget(self):
        free(self.scan.ids.entries)
        memset(&self.scan.ids, 0, sizeof(self.scan.ids))
        self.owners.clear()
        self.decoders.clear()

    def named(self):
        cdef size_t i
        cdef set found = set()
        if self.scan.in_transaction:
            for i in range(self.scan.ids.capacity):
                if self.scan.ids.entries[i].used and self.scan.ids.entries[i].transaction == self.scan.serial:
                    found.add(self.scan.ids.entries[i].id)
        return found

    def set_file(self, str name, int64_t position):
        cdef bytes text = name.encode()
        if not 0 < len(text) <= MOST_NAME or position < 0:
            raise ValueError(f"no place in a log: {name}, {position}")
        if self.scan.finished_here:
            self.finished_file = self.file
        elif self.finished_file is None:
            self.finished_file = name
            self.scan.finished_position = position
        self.scan.finished_here = False
        memcpy(self.scan.file.text, <const uint8_t*>text, len(text))
        self.scan.file.size = len(text)
        self.scan.position = position
        write_prefix(&self.scan)

    def begin(self, str gtid, int64_t committed_at_us):
        cdef Scan* s = &self.scan
        s.has_gtid = bool(gtid)
        s.gtid_flags = 0
        if mariadb := _MARIADB.fullmatch(gtid):
            s.gtid.mariadb = True
            s.gtid.domain, s.gtid.server, s.gtid.number = map(int, mariadb.groups())
        elif mysql := _MYSQL.fullmatch(gtid):
            s.gtid.mariadb = False
            uuid = bytes.fromhex(mysql[1].replace("-", ""))
            memcpy(s.gtid.uuid, <const uint8_t*>uuid, 16)
            s.gtid.number = int(mysql[2])
        elif gtid:
            raise ValueError(f"no GTID: {gtid}")
        self.settle(begin(s, committed_at_us))

    def finish(self):
        return self.settle(finish(&self.scan)) == STOP_ENOUGH

    def abandon(self):
        self.scan.in_transaction = False
        self.scan.open_rows = 0
        self.close_transactions()

    def take_gtids(self):
        cdef uint8_t[MOST_GTID] text
        cdef Interval* item
        cdef size_t i
        cdef int length
        taken = []
        for i in range(self.scan.ended.count):
            item = &self.scan.ended.items[i]
            if item.last.mariadb or item.first == item.last.number:
                length = write_identifier(text, &item.last)
            else:
                length = write_uuid(text, item.last.uuid)
                text[length] = 58
                length += 1 + write_number(text + length + 1, item.first)
                text[length] = 45
                length += 1 + write_number(text + length + 1, item.last.number)
            taken.append(PyBytes_FromStringAndSize(<char*>text, length).decode())
        self.scan.ended.count = 0
        return taken
