# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The changes of one table, collected as Arrow columns from pgoutput's row messages.

What the class promises stands in pgoutput_table.pyi; how rows come about in pgoutput_rows.pxd.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from forebay_agent.kernel.buffers cimport ColumnBuffer, release, reserve_data, reserve_row
from forebay_agent.kernel.pgoutput_rows cimport Field, Table
from forebay_agent.kernel.pgoutput_values cimport (
    ADDRESS_TEXT,
    BINARY,
    BOOLEAN,
    BOOLEAN_TEXT,
    DATE,
    DECIMAL,
    FLOAT,
    INTEGER,
    STRING,
    TIMESTAMP,
    TIMESTAMP_UTC,
    Column,
)

import pyarrow as pa

from forebay_wire.columns import CHANGE_FIELDS

cpdef enum:
    AS_SENT = 0
    TRUE_FALSE = 1
    WITH_NETMASK = 2

cdef enum:
    MOST_COLUMNS = 1600  # of a PostgreSQL table


cdef class TableDecoder:
    def __cinit__(self, *args, **kwargs):
        memset(&self.table, 0, sizeof(Table))
        self.table.unfit_row = -1

    def __init__(self, schema, places, int width, keys, forms=()):
        cdef Table* t = &self.table
        cdef int count = len(schema)
        cdef int number
        if t.columns != NULL:
            raise ValueError("it was made before")
        if not 0 < count <= MOST_COLUMNS or not 0 < width <= MOST_COLUMNS or len(places) != count:
            raise ValueError(f"{len(places)} places for {count} of {width} columns; 1 to {MOST_COLUMNS} are possible")
        if len(forms) not in (0, count) or not all(0 <= place < width for place in places):
            raise ValueError(f"wants a place below {width}, and a form, for each of {count} columns")
        if not all(0 <= key < count for key in keys):
            raise ValueError(f"a column of the key is none of {count} columns")
        t.columns = <Column*>calloc(count, sizeof(Column))
        t.keys = <int*>calloc(len(keys) + 1, sizeof(int))
        t.fresh = <Field*>calloc(width, sizeof(Field))
        t.old = <Field*>calloc(width, sizeof(Field))
        if t.columns == NULL or t.keys == NULL or t.fresh == NULL or t.old == NULL:
            raise MemoryError
        t.count = count
        t.width = width
        t.key_count = len(keys)
        t.times.width = 8
        t.row_bytes = 32
        for number in range(t.key_count):
            t.keys[number] = places[keys[number]]
        for number in range(count):
            t.columns[number].place = places[number]
            self._set_kind(number, schema.field(number).type, forms[number] if forms else AS_SENT)
            t.row_bytes += t.columns[number].buffer.width or 4
        self.schema = schema
        self.fields = pa.schema([*schema, *CHANGE_FIELDS])

    cdef _set_kind(self, int number, object kind, int form):
        cdef Column* column = &self.table.columns[number]
        types = pa.types
        if types.is_string(kind) and AS_SENT <= form <= WITH_NETMASK:
            column.kind = BOOLEAN_TEXT if form == TRUE_FALSE else ADDRESS_TEXT if form == WITH_NETMASK else STRING
        elif form != AS_SENT:
            raise ValueError(f"column {number}: no form {form} of {kind}")
        elif types.is_binary(kind):
            column.kind = BINARY
        elif types.is_boolean(kind):
            column.kind = BOOLEAN
            column.buffer.width = 1
        elif types.is_int32(kind) or types.is_int64(kind):
            column.kind = INTEGER
            column.buffer.width = kind.bit_width // 8
        elif types.is_float32(kind) or types.is_float64(kind):
            column.kind = FLOAT
            column.buffer.width = kind.bit_width // 8
        elif types.is_decimal128(kind) and 0 <= kind.scale <= kind.precision:
            column.kind = DECIMAL
            column.buffer.width = 16
            column.precision = kind.precision
            column.scale = kind.scale
        elif types.is_date32(kind):
            column.kind = DATE
            column.buffer.width = 4
        elif types.is_timestamp(kind) and kind.unit == "us" and (kind.tz is None or kind.tz == "UTC"):
            column.kind = TIMESTAMP if kind.tz is None else TIMESTAMP_UTC
            column.buffer.width = 8
        else:
            raise ValueError(f"column {number}: cannot decode into {kind}")

    def __dealloc__(self):
        self._release()
        free(self.table.columns)
        free(self.table.keys)
        free(self.table.fresh)
        free(self.table.old)

    cdef void _release(self) noexcept:
        cdef int number
        cdef int width
        for number in range(self.table.count):
            width = self.table.columns[number].buffer.width
            release(&self.table.columns[number].buffer)
            self.table.columns[number].buffer.width = width
        release(&self.table.ops)
        release(&self.table.positions)
        release(&self.table.times)
        self.table.times.width = 8
        free(self.table.marks)
        self.table.marks = NULL
        self.table.mark_count = 0
        self.table.mark_capacity = 0

    @property
    def rows(self):
        return self.table.rows

    @property
    def bytes(self):
        return self.table.bytes

    @property
    def unfit(self):
        return None if self.table.unfit_row < 0 else (self.table.unfit_row, self.table.unfit_column)

    @property
    def absent(self):
        cdef size_t at
        return [(self.table.marks[at].row, self.table.marks[at].column) for at in range(self.table.mark_count)]

    def take(self):
        cdef int number
        cdef Column* column
        if self.table.broken:
            raise MemoryError("memory ended within a row")
        arrays = []
        for number in range(self.table.count):
            column = &self.table.columns[number]
            arrays.append(self._taken(&column.buffer, self.schema.field(number).type, column.kind == BOOLEAN))
        arrays.append(self._taken(&self.table.ops, CHANGE_FIELDS[0].type, False))
        arrays.append(self._taken(&self.table.positions, CHANGE_FIELDS[1].type, False))
        arrays.append(self._taken(&self.table.times, CHANGE_FIELDS[2].type, False))
        arrays.append(self._absent_names())
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.fields)
        self._release()
        self.table.rows = 0
        self.table.bytes = 0
        self.table.unfit_row = -1
        return batch

    cdef object _taken(self, ColumnBuffer* column, object kind, bint packed):
        """A column's values as an array of their own."""
        cdef int64_t rows = self.table.rows
        cdef int64_t row
        cdef uint8_t* bits
        if reserve_row(column) != 0 or reserve_data(column, 8) != 0:
            raise MemoryError
        buffers = [copied(column.valid, (rows + 7) // 8) if column.nulls else None]
        if column.width == 0:
            column.offsets[rows] = <int32_t>column.used
            buffers.append(copied(<uint8_t*>column.offsets, 4 * (rows + 1)))
        if packed:
            bits = column.data  # in place: a bit is written after its byte, and all before it, were read
            for row in range(rows):
                if row & 7 == 0:
                    bits[row >> 3] = column.data[row]
                else:
                    bits[row >> 3] |= <uint8_t>(column.data[row] << (row & 7))
            buffers.append(copied(bits, (rows + 7) // 8))
        else:
            buffers.append(copied(column.data, column.used))
        return pa.Array.from_buffers(kind, rows, buffers, column.nulls)

    cdef object _absent_names(self):
        cdef int64_t rows = self.table.rows
        cdef int64_t row
        cdef size_t at = 0
        cdef size_t count = self.table.mark_count
        cdef int32_t[::1] ends
        cdef int32_t[::1] numbers
        kind = CHANGE_FIELDS[3].type
        if count == 0:
            return pa.nulls(rows, kind)
        if count > 0x7fffffff:
            raise MemoryError
        offsets = bytearray(4 * (rows + 1))
        columns = bytearray(4 * count)
        valid = bytearray((rows + 7) // 8)
        ends = memoryview(offsets).cast("i")
        numbers = memoryview(columns).cast("i")
        nulls = 0
        for row in range(rows):
            if at == count or self.table.marks[at].row != row:
                nulls += 1
            else:
                valid[row >> 3] |= 1 << (row & 7)
            while at < count and self.table.marks[at].row == row:
                numbers[at] = self.table.marks[at].column
                at += 1
            ends[row + 1] = <int32_t>at
        indices = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(columns)])
        names = pa.array(self.schema.names, pa.string()).take(indices)
        buffers = [pa.py_buffer(valid), pa.py_buffer(offsets)]
        return pa.Array.from_buffers(kind, rows, buffers, nulls, children=[names])


cdef object copied(const uint8_t* data, size_t size):
    """An Arrow buffer of its own with these bytes."""
    buffer = pa.allocate_buffer(size)
    if size:
        memcpy(<void*><uintptr_t>buffer.address, data, size)
    return buffer
