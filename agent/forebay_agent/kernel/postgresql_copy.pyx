# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""PostgreSQL's binary COPY stream -> Arrow record batches, without a Python object per value.

The format stands in postgresql_binary.pxd. A row is measured before any of it is decoded, so that a row that is not yet complete leaves no trace, and no read goes
beyond the bytes given. Malformed input raises ValueError with the offset in the stream. A value that is well formed but
does not fit its column (NaN or infinity in a decimal, a date beyond the years 0001 to 9999) becomes NULL and ends the
reading after its row; `unfit` tells row and column, and it is for the caller to refuse the batch.

libpq hands over one message, that is one row, at a time: `drain` asks it directly, because one Python object per row would
cost more than the decoding.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove

from forebay_agent.kernel.buffers cimport ColumnBuffer, append_bytes, append_null, release, reserve_row
from forebay_agent.kernel.libpq cimport Libpq, libpq_at, next_message
from forebay_agent.kernel.postgresql_binary cimport (
    AFTER_END,
    BAD_BOOLEAN,
    BAD_DIGITS,
    BAD_FIELD_COUNT,
    BAD_FIELD_LENGTH,
    BAD_FLAGS,
    BAD_LENGTH,
    BAD_SIGNATURE,
    DONE,
    NO_MEMORY,
    UNFIT,
    append_boolean,
    append_date,
    append_decimal,
    append_float,
    append_integer,
    append_timestamp,
    append_uuid,
    appended,
    is_trailer,
    measure_header,
    measure_row,
    read32,
)

import pyarrow as pa

cdef enum Kind:
    BOOLEAN
    INTEGER
    FLOAT
    DECIMAL
    DATE
    TIMESTAMP
    BYTES
    UUID

_REASONS = {
    BAD_LENGTH: "a value has not the length of its type",
    BAD_DIGITS: "a numeric value is not well formed",
    BAD_BOOLEAN: "a boolean is neither 0 nor 1",
    BAD_FIELD_COUNT: "a row has another number of fields than the columns asked for",
    BAD_FIELD_LENGTH: "a field's length is not possible",
    BAD_SIGNATURE: "the signature of a binary COPY stream is missing",
    BAD_FLAGS: "the header asks for a feature that is not known",
    AFTER_END: "data follows the end marker",
}

cpdef enum:
    # what `drain` came to
    FULL = 1
    WAITING = 0
    ENDED = -1
    LOST = -2

cdef struct Target:
    # where a column's values go
    ColumnBuffer buffer
    Kind kind
    int precision
    int scale


cdef class CopyDecoder:
    """Decodes one COPY stream. Feed it, and `take` a record batch whenever `full` says so or the stream has ended.

    schema: the columns' Arrow types as above. uuids: per column, whether it is a uuid carried as string.
    most_rows, most_bytes: when a batch is `full` (the last row may pass the bytes).
    """

    cdef Target* targets
    cdef int count
    cdef object schema
    cdef readonly int64_t rows
    """Rows decoded and not yet taken."""
    cdef int64_t taken
    cdef size_t bytes_held
    cdef int64_t most_rows
    cdef size_t most_bytes
    cdef uint64_t offset  # of the first byte that was not consumed yet, in the stream
    cdef bint header_read
    cdef readonly bint ended
    """Whether the end marker was read."""
    cdef int64_t unfit_row
    cdef int unfit_column
    cdef uint8_t* pending  # bytes of a row that is not complete
    cdef size_t pending_used
    cdef size_t pending_capacity

    def __cinit__(self, *args, **kwargs):
        self.targets = NULL
        self.pending = NULL
        self.count = 0

    def __init__(self, object schema, uuids, int64_t most_rows=50_000, size_t most_bytes=4 << 20):
        cdef int number
        if self.targets != NULL or len(uuids) != len(schema) or not 0 < len(schema) < 0x7fff:
            raise ValueError("wants a schema of some columns, and for each whether it is a uuid")
        self.schema = schema
        self.targets = <Target*>calloc(len(schema), sizeof(Target))
        if self.targets == NULL:
            raise MemoryError
        self.count = len(schema)
        self.most_rows = most_rows
        self.most_bytes = most_bytes
        self.unfit_row = -1
        self.unfit_column = -1
        for number in range(self.count):
            self._set_kind(number, schema.field(number).type, bool(uuids[number]))

    cdef _set_kind(self, int number, object kind, bint uuid):
        cdef Target* target = &self.targets[number]
        types = pa.types
        if types.is_string(kind):
            target.kind = UUID if uuid else BYTES
        elif types.is_binary(kind):
            target.kind = BYTES
        elif types.is_boolean(kind):
            target.kind = BOOLEAN
            target.buffer.width = 1
        elif types.is_int32(kind) or types.is_int64(kind):
            target.kind = INTEGER
            target.buffer.width = kind.bit_width // 8
        elif types.is_float32(kind) or types.is_float64(kind):
            target.kind = FLOAT
            target.buffer.width = kind.bit_width // 8
        elif types.is_decimal128(kind) and 0 <= kind.scale <= 38:
            target.kind = DECIMAL
            target.buffer.width = 16
            target.precision = kind.precision
            target.scale = kind.scale
        elif types.is_date32(kind):
            target.kind = DATE
            target.buffer.width = 4
        elif types.is_timestamp(kind) and kind.unit == "us":
            target.kind = TIMESTAMP
            target.buffer.width = 8
        else:
            raise ValueError(f"column {number}: cannot decode into {kind}")

    def __dealloc__(self):
        cdef int number
        for number in range(self.count):
            release(&self.targets[number].buffer)
        free(self.targets)
        free(self.pending)

    @property
    def full(self):
        """Whether a batch should be taken before more is fed."""
        return self._full()

    @property
    def unfit(self):
        """(row of the batch, column) of the first value that does not fit its column; None when all do."""
        return None if self.unfit_row < 0 else (self.unfit_row, self.unfit_column)

    cdef inline bint _full(self) noexcept nogil:
        return self.rows >= self.most_rows or self.bytes_held >= self.most_bytes or self.unfit_row >= 0

    def feed(self, const uint8_t[::1] data):
        """Decodes the next bytes of the stream, all of them however full the batch becomes.

        Raises ValueError with the offset in the stream when they are malformed; the decoder is then of no more use.
        """
        cdef int status
        if data.shape[0] == 0:
            return
        with nogil:
            status = self._accept(&data[0], data.shape[0])
        self._check(status)

    def drain(self, libpq, uintptr_t connection, int wait_ms):
        """Reads from a libpq connection in COPY OUT state until a batch is full, the COPY ends, or nothing came.

        libpq: the addresses of PQgetCopyData, PQfreemem, PQconsumeInput and PQsocket. Returns FULL; ENDED, and libpq holds
        the COPY's result; LOST when the connection broke; WAITING after `wait_ms` without data, or a signal. Raises
        ValueError as `feed`.
        """
        cdef uintptr_t get_copy_data, free_memory, consume_input, socket
        cdef int status = DONE
        cdef int outcome
        get_copy_data, free_memory, consume_input, socket = libpq
        if not (get_copy_data and free_memory and consume_input and socket and connection):
            raise ValueError("wants four functions and a connection")
        cdef Libpq functions = libpq_at(get_copy_data, free_memory, consume_input, socket)
        with nogil:
            outcome = self._drain(&functions, <void*>connection, wait_ms, &status)
        self._check(status)
        return outcome

    def finish(self):
        """Raises ValueError when the stream ended without its end marker."""
        if not self.ended:
            raise ValueError(f"binary COPY stream is cut short at byte {self.offset + self.pending_used}")

    def take(self):
        """The rows decoded so far as a record batch; the decoder starts the next one."""
        cdef int number
        arrays = []
        for number in range(self.count):
            arrays.append(self._take_column(number))
        self.taken += self.rows
        self.rows = 0
        self.bytes_held = 0
        self.unfit_row = -1
        self.unfit_column = -1
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    cdef object _take_column(self, int number):
        cdef ColumnBuffer* column = &self.targets[number].buffer
        cdef int64_t row
        cdef uint8_t[::1] bits
        if reserve_row(column) != 0:
            raise MemoryError
        valid = copied(column.valid, (self.rows + 7) // 8) if column.nulls else None
        buffers = [valid]
        if column.width == 0:
            column.offsets[self.rows] = <int32_t>column.used
            buffers.append(copied(<uint8_t*>column.offsets, 4 * (self.rows + 1)))
        if self.targets[number].kind == BOOLEAN:
            packed = bytearray((self.rows + 7) // 8)
            if self.rows:
                bits = packed
                for row in range(self.rows):
                    bits[row >> 3] |= <uint8_t>(column.data[row] << (row & 7))
            buffers.append(pa.py_buffer(packed))
        else:
            buffers.append(copied(column.data, column.used))
        array = pa.Array.from_buffers(self.schema.field(number).type, self.rows, buffers, column.nulls)
        column.used = 0
        column.rows = 0
        column.nulls = 0
        return array

    cdef _check(self, int status):
        if status == NO_MEMORY:
            raise MemoryError("a column of one batch would take more than 2 GiB, or memory is exhausted")
        if status < 0:
            raise ValueError(f"binary COPY stream, byte {self.offset}, row {self.taken + self.rows}: {_REASONS[status]}")

    cdef int _drain(self, const Libpq* libpq, void* connection, int wait_ms, int* status) noexcept nogil:
        cdef char* message = NULL
        cdef int size
        while not self._full():
            size = next_message(libpq, connection, wait_ms, &message)
            if size <= 0:
                return WAITING if size == 0 else ENDED if size == -1 else LOST
            status[0] = self._accept(<const uint8_t*>message, size)
            libpq.free_memory(message)
            if status[0] < 0:
                return LOST
        return FULL

    cdef int _accept(self, const uint8_t* data, size_t size) noexcept nogil:
        """Decodes whole rows and keeps what is left of the last one."""
        cdef size_t consumed = 0
        cdef size_t capacity
        cdef uint8_t* grown
        cdef int status
        if self.pending_used == 0:
            status = self._decode(data, size, &consumed)
            if status < 0:
                return status
            data += consumed
            size -= consumed
            if size == 0:
                return DONE
        if self.pending_used + size > self.pending_capacity:
            capacity = (self.pending_used + size) * 3 // 2 + 4096
            grown = <uint8_t*>realloc(self.pending, capacity)
            if grown == NULL:
                return NO_MEMORY
            self.pending = grown
            self.pending_capacity = capacity
        memcpy(self.pending + self.pending_used, data, size)
        self.pending_used += size
        consumed = 0
        status = self._decode(self.pending, self.pending_used, &consumed)
        if status < 0:
            return status
        self.pending_used -= consumed
        memmove(self.pending, self.pending + consumed, self.pending_used)
        return DONE

    cdef int _decode(self, const uint8_t* data, size_t size, size_t* consumed) noexcept nogil:
        cdef size_t at = 0
        cdef int64_t row_bytes
        cdef int status
        if not self.header_read:
            row_bytes = measure_header(data, size)
            if row_bytes <= 0:
                return <int>row_bytes
            at = <size_t>row_bytes
            self.offset += at
            self.header_read = True
        while at < size:
            if self.ended:
                return AFTER_END
            if is_trailer(data + at, size - at):
                self.ended = True
                at += 2
                self.offset += 2
                continue
            row_bytes = measure_row(data + at, size - at, self.count)
            if row_bytes < 0:
                return <int>row_bytes
            if row_bytes == 0:
                break
            status = self._decode_row(data + at)
            if status < 0:
                return status
            self.rows += 1
            self.bytes_held += <size_t>row_bytes
            at += <size_t>row_bytes
            self.offset += <uint64_t>row_bytes
        consumed[0] = at
        return DONE

    cdef int _decode_row(self, const uint8_t* data) noexcept nogil:
        """Decodes the row at `data`, which was measured."""
        cdef const uint8_t* p = data + 2
        cdef int32_t length
        cdef int number
        cdef int status
        for number in range(self.count):
            length = <int32_t>read32(p)
            p += 4
            if length == -1:
                if append_null(&self.targets[number].buffer) != 0:
                    return NO_MEMORY
                continue
            status = self._decode_value(number, p, length)
            if status < 0:
                return status
            if status == UNFIT and self.unfit_row < 0:
                self.unfit_row = self.rows
                self.unfit_column = number
            p += length
        return DONE

    cdef inline int _decode_value(self, int number, const uint8_t* p, size_t size) noexcept nogil:
        cdef ColumnBuffer* column = &self.targets[number].buffer
        cdef Kind kind = self.targets[number].kind
        if kind == BYTES:
            return appended(append_bytes(column, p, size))
        if kind == INTEGER:
            return append_integer(column, p, size)
        if kind == TIMESTAMP:
            return append_timestamp(column, p, size)
        if kind == DECIMAL:
            return append_decimal(column, p, size, self.targets[number].precision, self.targets[number].scale)
        if kind == BOOLEAN:
            return append_boolean(column, p, size)
        if kind == DATE:
            return append_date(column, p, size)
        if kind == FLOAT:
            return append_float(column, p, size)
        return append_uuid(column, p, size)


cdef object copied(const uint8_t* data, size_t size):
    """An Arrow buffer of its own with these bytes."""
    buffer = pa.allocate_buffer(size)
    if size:
        memcpy(<void*><uintptr_t>buffer.address, data, size)
    return buffer
