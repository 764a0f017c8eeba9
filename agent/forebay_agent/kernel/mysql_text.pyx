# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True, initializedcheck=False
"""Rows of a MySQL text result set, from the wire straight into Arrow buffers, one set per column.

Input: the packets that follow a result set's column definitions. Each packet is a 3-byte little-endian length, a sequence
byte and the payload; a payload of 0xffffff bytes or more goes on in the next packet. A row's payload is, per column,
0xfb for NULL, or a length-encoded integer and that many bytes of text. The result ends with an EOF packet (0xfe, shorter
than 9 bytes) or an ERR packet (0xff). Nothing the server sends is trusted: every length is checked against its packet.

A column's kind says what its text becomes (`BYTES` keeps it). A value that does not fit its kind (a zero date, a number
out of range) becomes NULL and the first such value is noted in `unfit`: the caller names the row's key and gives up.

Format: "Text Resultset" and "MySQL Packets" in the MySQL client/server protocol; Arrow columnar format 1.5.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memmove

from forebay_agent.kernel.buffers cimport ColumnBuffer, append_bytes, append_null, release
from forebay_agent.kernel.text_values cimport calendar_days, decimal_number, int128, moment, whole_number

BYTES = 0
INT32 = 1
INT64 = 2
DECIMAL = 3
DATE = 4
TIMESTAMP = 5

cdef enum:
    KIND_BYTES = 0
    KIND_INT32 = 1
    KIND_INT64 = 2
    KIND_DECIMAL = 3
    KIND_DATE = 4
    KIND_TIMESTAMP = 5

    HEADER = 4
    FULL_PACKET = 0xffffff
    # what a row function says beside 0
    NO_MEMORY = -1
    MALFORMED = -2
    TOO_LONG = -3

cdef int64_t MAX_DECIMAL_DIGITS = 38
cdef int[6] WIDTHS = [0, 4, 8, 16, 4, 8]


cdef struct Column:
    ColumnBuffer buffer
    int kind
    int precision
    int scale


cdef inline int append_value(Column* column, const uint8_t* text, size_t size) noexcept nogil:
    """0, NO_MEMORY, or 1 when the value does not fit (then it is NULL)."""
    cdef int64_t number = 0
    cdef int32_t narrow
    cdef int128 wide = 0
    cdef int unfit
    if column.kind == KIND_BYTES:
        return append_bytes(&column.buffer, text, size)
    if column.kind == KIND_DECIMAL:
        if decimal_number(text, size, column.precision, column.scale, &wide) == 0:
            return append_bytes(&column.buffer, <uint8_t*>&wide, 16)
    else:
        if column.kind == KIND_DATE:
            unfit = -1 if size != 10 else calendar_days(text, &number)
        elif column.kind == KIND_TIMESTAMP:
            unfit = moment(text, size, &number)
        else:
            unfit = whole_number(text, size, &number)
        if unfit == 0:
            if column.buffer.width == 8:
                return append_bytes(&column.buffer, <uint8_t*>&number, 8)
            narrow = <int32_t>number
            if narrow == number:
                return append_bytes(&column.buffer, <uint8_t*>&narrow, 4)
    return NO_MEMORY if append_null(&column.buffer) != 0 else 1


cdef class TextRows:
    """Collects rows until a batch is full. Each column of `kinds` is (kind, precision, scale).

    Attributes:
        rows: rows collected since the last `take`.
        full: whether the batch has reached `max_rows` or `max_bytes`.
        ended: whether the result set is at its end.
        error: the ERR packet that ended it, or None.
        unfit: (row, column) of the first value that did not fit its kind, or None.
    """

    cdef Column* columns
    cdef int count
    cdef int64_t max_rows
    cdef size_t max_bytes
    cdef size_t max_row_bytes
    cdef size_t bytes
    cdef int sequence
    cdef int64_t unfit_row
    cdef int unfit_column
    cdef const uint8_t* bad_at
    cdef int bad_column
    cdef readonly int64_t rows
    cdef readonly bint ended
    cdef readonly object error

    def __cinit__(
        self, kinds, int sequence, int64_t max_rows=50_000, size_t max_bytes=8 << 20, size_t max_row_bytes=256 << 20
    ):
        """sequence: the sequence byte of the next packet. Raises ValueError when a kind is none, or there are no columns
        or too many."""
        if not 0 < len(kinds) <= 4096:
            raise ValueError(f"{len(kinds)} columns; 1 to 4096 are possible")
        self.columns = <Column*>calloc(len(kinds), sizeof(Column))
        if self.columns == NULL:
            raise MemoryError
        self.count = len(kinds)
        for number, (kind, precision, scale) in enumerate(kinds):
            if not 0 <= kind <= KIND_TIMESTAMP or not 0 <= scale <= precision <= MAX_DECIMAL_DIGITS:
                raise ValueError(f"column {number}: no kind ({kind}, {precision}, {scale})")
            self.columns[<int>number].kind = kind
            self.columns[<int>number].precision = precision
            self.columns[<int>number].scale = scale
            self.columns[<int>number].buffer.width = WIDTHS[<int>kind]
        self.sequence = sequence & 0xff
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self.max_row_bytes = max_row_bytes
        self.unfit_row = -1

    def __dealloc__(self):
        cdef int i
        if self.columns != NULL:
            for i in range(self.count):
                release(&self.columns[i].buffer)
            free(self.columns)

    @property
    def full(self):
        return self.rows >= self.max_rows or self.bytes >= self.max_bytes

    @property
    def unfit(self):
        return None if self.unfit_row < 0 else (self.unfit_row, self.unfit_column)

    def feed(self, uint8_t[::1] buffer, Py_ssize_t start, Py_ssize_t end):
        """Takes whole packets from buffer[start:end] until the batch is full or the result ends; -> where it stopped. What it
        took may be overwritten. Raises ValueError with the place when the packets are malformed, OverflowError when a row is
        longer than `max_row_bytes`; nothing more can be read then."""
        cdef Py_ssize_t position = start
        cdef Py_ssize_t taken = 0
        cdef uint8_t* row = NULL
        cdef size_t size = 0
        cdef int outcome = 0
        if not 0 <= start <= end <= buffer.shape[0]:
            raise ValueError(f"no range of the buffer: {start} to {end} of {buffer.shape[0]}")
        if start == end:
            return start
        cdef uint8_t* base = &buffer[0]
        with nogil:
            while not self.ended and self.rows < self.max_rows and self.bytes < self.max_bytes:
                outcome = self.packet(base + position, end - position, &taken, &size)
                if outcome != 0 or taken == 0:
                    break
                row = base + position + HEADER
                if size and row[0] == 0xff or size and size < 9 and row[0] == 0xfe:
                    position += taken
                    self.ended = True
                    break
                outcome = self.row(row, size)
                if outcome != 0:
                    break
                self.bytes += size
                position += taken
        if outcome == NO_MEMORY:
            raise MemoryError("no memory for the rows of one batch")
        if outcome == TOO_LONG:
            raise OverflowError(f"a row is longer than {self.max_row_bytes} bytes")
        if outcome == MALFORMED:
            raise ValueError(
                f"malformed result: row {self.rows}, column {self.bad_column}, byte {self.bad_at - (base + position)} of "
                f"its packet"
            )
        if self.ended and row != NULL and row[0] == 0xff:
            self.error = PyBytes_FromStringAndSize(<char*>row, size)
        return position

    cdef int packet(self, uint8_t* at, Py_ssize_t available, Py_ssize_t* taken, size_t* size) noexcept nogil:
        """One logical packet: `taken` bytes of input (0: not all of it is there), `size` bytes of payload at at + HEADER,
        joined in place when it is split."""
        cdef Py_ssize_t read = 0
        cdef size_t length = FULL_PACKET
        cdef size_t total = 0
        cdef int sequence = self.sequence
        taken[0] = 0
        self.bad_column = -1
        while length == FULL_PACKET:
            if available - read < HEADER:
                return 0
            length = at[read] | (<size_t>at[read + 1] << 8) | (<size_t>at[read + 2] << 16)
            total += length
            self.bad_at = at + read
            if total > self.max_row_bytes:
                return TOO_LONG
            # a server that shuts down sends its last error with sequence 0; that it is one, its first byte says
            if at[read + 3] != (sequence & 0xff):
                if at[read + 3] != 0 or length == 0:
                    return MALFORMED
                if available - read == HEADER:
                    return 0
                if at[read + HEADER] != 0xff:
                    return MALFORMED
            if <size_t>(available - read - HEADER) < length:
                return 0
            read += HEADER + <Py_ssize_t>length
            sequence += 1
        if total > <size_t>FULL_PACKET or read > HEADER + <Py_ssize_t>total:
            self.join(at, read)
        self.sequence = sequence & 0xff
        taken[0] = read
        size[0] = total
        return 0

    cdef void join(self, uint8_t* at, Py_ssize_t read) noexcept nogil:
        """Moves the payloads of the packets in at[:read] together behind the first header."""
        cdef Py_ssize_t source = 0
        cdef Py_ssize_t target = HEADER
        cdef Py_ssize_t length
        while source < read:
            length = at[source] | (<Py_ssize_t>at[source + 1] << 8) | (<Py_ssize_t>at[source + 2] << 16)
            memmove(at + target, at + source + HEADER, length)
            target += length
            source += HEADER + length

    cdef int row(self, const uint8_t* at, size_t size) noexcept nogil:
        cdef const uint8_t* here = at
        cdef const uint8_t* end = at + size
        cdef size_t length
        cdef size_t more
        cdef size_t i
        cdef int number, outcome
        for number in range(self.count):
            self.bad_at = here
            self.bad_column = number
            if here == end:
                return MALFORMED
            length = here[0]
            here += 1
            if length == 251:
                if append_null(&self.columns[number].buffer) != 0:
                    return NO_MEMORY
                continue
            if length > 251:
                if length == 255:
                    return MALFORMED
                more = 2 if length == 252 else (3 if length == 253 else 8)
                if <size_t>(end - here) < more:
                    return MALFORMED
                length = 0
                for i in range(more):
                    length |= <size_t>here[i] << (8 * i)
                here += more
            if length > <size_t>(end - here):
                return MALFORMED
            outcome = append_value(&self.columns[number], here, length)
            if outcome < 0:
                return NO_MEMORY
            if outcome and self.unfit_row < 0:
                self.unfit_row = self.rows
                self.unfit_column = number
            here += length
        if here != end:
            self.bad_at = here
            self.bad_column = self.count
            return MALFORMED
        self.rows += 1
        return 0

    def take(self):
        """The rows collected, and begins anew: per column (validity bits or None, offsets or None, data)."""
        cdef ColumnBuffer* buffer
        cdef int i
        cdef int32_t end
        taken = []
        for i in range(self.count):
            buffer = &self.columns[i].buffer
            validity = None
            if buffer.nulls:
                validity = PyBytes_FromStringAndSize(<char*>buffer.valid, (self.rows + 7) // 8)
            offsets = None
            if buffer.width == 0:
                end = <int32_t>buffer.used
                if self.rows:
                    buffer.offsets[self.rows] = end
                    offsets = PyBytes_FromStringAndSize(<char*>buffer.offsets, 4 * (self.rows + 1))
                else:
                    offsets = bytes(4)
            taken.append((validity, offsets, PyBytes_FromStringAndSize(<char*>buffer.data, buffer.used)))
            buffer.used = 0
            buffer.nulls = 0
            buffer.rows = 0
        self.rows = 0
        self.bytes = 0
        self.unfit_row = -1
        return taken
