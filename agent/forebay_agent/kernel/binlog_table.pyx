# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True, initializedcheck=False
"""Row events of one table, as one TABLE_MAP describes it, straight into Arrow buffers. What is read how: binlog_layout.pxd and
binlog_rows.pxd; what its users see: binlog_table.pyi."""
from collections import namedtuple

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from forebay_agent.kernel.binlog_layout cimport (
    BIT_VALUE, BYTES_VALUE, Column, DATE_VALUE, DATETIME_VALUE, DECIMAL_VALUE, DOUBLE_VALUE, ENUM_VALUE, FLOAT_VALUE,
    INTEGER_VALUE, MOST_COLUMNS, MOST_ZEROFILL, NO_VALUE, OLD_DATETIME_VALUE, OLD_TIME_VALUE,
    OLD_TIMESTAMP_VALUE, SET_VALUE, TIMESTAMP_VALUE, TIME_VALUE, TO_BOOL, TO_BYTES, TO_DATE, TO_DECIMAL, TO_DOUBLE,
    TO_FLOAT, TO_HEX, TO_INET4, TO_INET6, TO_INT32, TO_INT64, TO_NOTHING, TO_TEXT, TO_TIMESTAMP, TO_UUID,
    YEAR_VALUE,
)
from forebay_agent.kernel.binlog_numbers cimport decimal_bytes
from forebay_agent.kernel.binlog_rows cimport Span, Table
from forebay_agent.kernel.buffers cimport ColumnBuffer, release

SKIPPED = TO_NOTHING
BYTES = TO_BYTES
INT32 = TO_INT32
INT64 = TO_INT64
DECIMAL = TO_DECIMAL
FLOAT = TO_FLOAT
DOUBLE = TO_DOUBLE
BOOL = TO_BOOL
DATE = TO_DATE
TIMESTAMP = TO_TIMESTAMP
TEXT = TO_TEXT
HEX = TO_HEX
UUID = TO_UUID
INET4 = TO_INET4
INET6 = TO_INET6

WireColumn = namedtuple(
    "WireColumn",
    "wire_type metadata target precision scale unsigned key zerofill labels padded",
    defaults=(0, 0, False, False, 0, (), False),
)
Taken = namedtuple("Taken", "rows columns op position committed_at")

cdef enum:
    STRING_TYPE = 254
    ENUM_TYPE = 247
    SET_TYPE = 248
    # a buffer of this size is given back once its rows are taken
    KEPT_BYTES = 8 << 20

# per type byte the number of metadata bytes
_METADATA = {
    **dict.fromkeys((1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14), 0),
    **dict.fromkeys((4, 5, 17, 18, 19, 140, 242, 245, 249, 250, 251, 252, 255), 1),
    **dict.fromkeys((15, 16, 141, 246, 247, 248, 253, 254), 2),
}
# without metadata: (family, bytes)
_FIXED = {
    1: (INTEGER_VALUE, 1),
    2: (INTEGER_VALUE, 2),
    3: (INTEGER_VALUE, 4),
    6: (NO_VALUE, 0),
    7: (OLD_TIMESTAMP_VALUE, 4),
    8: (INTEGER_VALUE, 8),
    9: (INTEGER_VALUE, 3),
    10: (DATE_VALUE, 3),
    11: (OLD_TIME_VALUE, 3),
    12: (OLD_DATETIME_VALUE, 8),
    13: (YEAR_VALUE, 1),
    14: (DATE_VALUE, 3),
}
# with the number of decimals: (family, bytes without the fraction)
_TIMED = {17: (TIMESTAMP_VALUE, 4), 18: (DATETIME_VALUE, 5), 19: (TIME_VALUE, 3)}
_NUMBERS = (TO_INT32, TO_INT64, TO_DECIMAL, TO_BOOL, TO_TEXT)
_TARGETS = {
    INTEGER_VALUE: _NUMBERS,
    YEAR_VALUE: _NUMBERS,
    ENUM_VALUE: _NUMBERS,
    SET_VALUE: _NUMBERS,
    BIT_VALUE: (*_NUMBERS, TO_BYTES),
    FLOAT_VALUE: (TO_FLOAT, TO_DOUBLE),
    DOUBLE_VALUE: (TO_DOUBLE,),
    DECIMAL_VALUE: (TO_DECIMAL, TO_TEXT),
    DATE_VALUE: (TO_DATE, TO_TEXT),
    TIME_VALUE: (TO_TEXT,),
    OLD_TIME_VALUE: (TO_TEXT,),
    **dict.fromkeys(
        (DATETIME_VALUE, TIMESTAMP_VALUE, OLD_DATETIME_VALUE, OLD_TIMESTAMP_VALUE), (TO_TIMESTAMP, TO_TEXT)
    ),
    BYTES_VALUE: (TO_BYTES, TO_HEX, TO_UUID, TO_INET4, TO_INET6),
    NO_VALUE: (),
}
_WIDTHS = {
    TO_INT32: 4,
    TO_INT64: 8,
    TO_DECIMAL: 16,
    TO_FLOAT: 4,
    TO_DOUBLE: 8,
    TO_BOOL: 1,
    TO_DATE: 4,
    TO_TIMESTAMP: 8,
}
_ADDRESS_BYTES = {TO_UUID: 16, TO_INET4: 4, TO_INET6: 16}


def metadata_size(int wire_type):
    size = _METADATA.get(wire_type)
    if size is None:
        raise ValueError(f"no known type of a column: {wire_type}")
    return size


def _layout(int wire_type, bytes metadata):
    """(family, bytes of the length before the value, bytes of the value or the most of them, decimals, precision, scale)."""
    if len(metadata) != metadata_size(wire_type):
        raise ValueError(f"{len(metadata)} bytes of metadata")
    if wire_type in _FIXED:
        family, size = _FIXED[wire_type]
        return family, 0, size, 0, 0, 0
    first = metadata[0]
    if wire_type in _TIMED and first <= 6:
        family, size = _TIMED[wire_type]
        return family, 0, size + (first + 1) // 2, first, 0, 0
    if (wire_type, first) in ((4, 4), (5, 8)):
        return (FLOAT_VALUE if wire_type == 4 else DOUBLE_VALUE), 0, first, 0, 0, 0
    if wire_type == 246 and 1 <= first <= 65 and metadata[1] <= min(first, 38):
        return DECIMAL_VALUE, 0, decimal_bytes(first, metadata[1]), 0, first, metadata[1]
    if wire_type == 16 and first < 8 and 1 <= first + 8 * metadata[1] <= 64:
        return BIT_VALUE, 0, metadata[1] + (first > 0), 0, 0, 0
    if wire_type in (15, 141, 253):
        most = first | metadata[1] << 8
        return BYTES_VALUE, 1 if most < 256 else 2, most, 0, 0, 0
    if wire_type in (STRING_TYPE, ENUM_TYPE, SET_TYPE):
        return _string_layout(first, metadata[1])
    if len(metadata) == 1 and wire_type not in (4, 5, 17, 18, 19) and 1 <= first <= 4:
        return BYTES_VALUE, first, (1 << 8 * first) - 1, 0, 0, 0
    raise ValueError("metadata that the type does not have")


def _string_layout(int real_type, int length):
    """A STRING's first byte of metadata is its real type, with bits 8 and 9 of its length, inverted, in bits 4 and 5."""
    length |= ((real_type & 0x30) ^ 0x30) << 4
    real_type |= 0x30
    if real_type == STRING_TYPE:
        return BYTES_VALUE, 1 if length < 256 else 2, length, 0, 0, 0
    if real_type == ENUM_TYPE and 1 <= length <= 2:
        return ENUM_VALUE, 0, length, 0, 0, 0
    if real_type == SET_TYPE and 1 <= length <= 8:
        return SET_VALUE, 0, length, 0, 0, 0
    raise ValueError("metadata that the type does not have")


cdef class TableDecoder:
    def __cinit__(self, columns):
        cdef Table* table = &self.table
        cdef int number
        cdef int captured = 0
        if not 0 < len(columns) <= MOST_COLUMNS:
            raise ValueError(f"{len(columns)} columns; 1 to {MOST_COLUMNS} are possible")
        table.columns = <Column*>calloc(len(columns), sizeof(Column))
        if table.columns == NULL:
            raise MemoryError
        table.count = len(columns)
        table.bitmap = (table.count + 7) // 8
        table.last_key = -1
        table.unfit_row = -1
        table.committed_at.width = 8
        table.row_size = 2 + 8 + 2 * 4
        for number, column in enumerate(columns):
            try:
                _set_column(&table.columns[number], column)
            except (ValueError, TypeError) as error:
                raise ValueError(f"column {number} (type {column[0]}, metadata {column[1]!r}): {error}") from None
            if table.columns[number].captured:
                table.columns[number].number = captured
                table.row_size += table.columns[number].buffer.width or 4
                captured += 1
            if table.columns[number].key:
                table.last_key = number
                table.keys += 1
        table.old_key = <Span*>calloc(table.keys + 1, sizeof(Span))
        table.new_key = <Span*>calloc(table.keys + 1, sizeof(Span))
        if table.old_key == NULL or table.new_key == NULL:
            raise MemoryError
        self.layout = bytes(column[0] for column in columns) + b"".join(column[1] for column in columns)

    def __dealloc__(self):
        cdef int i
        if self.table.columns != NULL:
            for i in range(self.table.count):
                release(&self.table.columns[i].buffer)
                free(self.table.columns[i].labels)
                free(self.table.columns[i].label_ends)
            free(self.table.columns)
        release(&self.table.op)
        release(&self.table.position)
        release(&self.table.committed_at)
        free(self.table.old_key)
        free(self.table.new_key)

    @property
    def rows(self):
        return self.table.rows

    @property
    def size(self):
        return self.table.size

    @property
    def unfit(self):
        return None if self.table.unfit_row < 0 else (self.table.unfit_row, self.table.unfit_column)

    @property
    def open_from(self):
        return self.table.open_from if self.table.transaction else self.table.rows

    def take(self):
        cdef Table* table = &self.table
        cdef int64_t rows = table.rows
        cdef int i
        columns = []
        for i in range(table.count):
            if table.columns[i].captured:
                columns.append(_taken(&table.columns[i].buffer, rows, table.columns[i].target == TO_BOOL))
        taken = Taken(
            rows,
            columns,
            _taken(&table.op, rows, False),
            _taken(&table.position, rows, False),
            _taken(&table.committed_at, rows, False),
        )
        table.rows = 0
        table.size = 0
        table.unfit_row = -1
        table.open_from = 0
        return taken

    def drop_open(self):
        cdef Table* table = &self.table
        cdef int64_t rows = self.open_from
        cdef int64_t dropped = table.rows - rows
        cdef int i
        if dropped == 0:
            return 0
        table.size -= dropped * table.row_size
        for i in range(table.count):
            if table.columns[i].captured:
                table.size -= _shortened(&table.columns[i].buffer, rows)
        table.size -= _shortened(&table.position, rows)
        _shortened(&table.op, rows)
        _shortened(&table.committed_at, rows)
        table.rows = rows
        table.transaction = 0
        if table.unfit_row >= rows:
            table.unfit_row = -1
        return dropped


cdef int _set_column(Column* c, column) except -1:
    """Raises ValueError saying what does not go together."""
    family, prefix, size, decimals, precision, scale = _layout(column.wire_type, column.metadata)
    target = column.target
    c.family = family
    c.prefix = prefix
    c.size = size
    c.decimals = decimals
    c.precision = precision
    c.scale = scale
    c.is_unsigned = column.unsigned or family in (ENUM_VALUE, SET_VALUE)
    c.key = column.key
    c.target = target
    if target == TO_NOTHING:
        return 0
    if target not in _TARGETS[family]:
        raise ValueError(f"cannot become target {target}")
    if not 0 <= column.zerofill <= MOST_ZEROFILL:
        raise ValueError(f"zerofill {column.zerofill}")
    c.captured = True
    c.zerofill = column.zerofill
    c.buffer.width = _WIDTHS.get(target, 0)
    c.padded = size if column.padded else 0
    if c.padded and (family != BYTES_VALUE or column.wire_type != STRING_TYPE):
        raise ValueError("only BINARY(n) is padded")
    if target in _ADDRESS_BYTES and (column.wire_type != STRING_TYPE or size != _ADDRESS_BYTES[target]):
        raise ValueError(f"cannot become target {target}")
    if target == TO_DECIMAL:
        if not 0 < column.precision <= 38 or column.scale != scale or precision > 38:
            raise ValueError(f"cannot become decimal128({column.precision}, {column.scale})")
        c.limit = 1
        for _ in range(<int>column.precision):
            c.limit = c.limit * 10
    if target == TO_TEXT and family in (ENUM_VALUE, SET_VALUE):
        _set_labels(c, column.labels)
    c.copied = (
        target == TO_BYTES and not c.padded
        or family == INTEGER_VALUE and not c.is_unsigned and (size, target) in ((4, TO_INT32), (8, TO_INT64))
        or (family, target) in ((FLOAT_VALUE, TO_FLOAT), (DOUBLE_VALUE, TO_DOUBLE))
    )
    return 0


cdef int _set_labels(Column* c, labels) except -1:
    cdef bytes joined = b"".join(labels)
    cdef int i
    cdef uint32_t end = 0
    if not 0 < len(labels) <= (64 if c.family == SET_VALUE else 65535):
        raise ValueError(f"{len(labels)} labels")
    c.labels = <uint8_t*>malloc(len(joined) + 1)
    c.label_ends = <uint32_t*>malloc(len(labels) * sizeof(uint32_t))
    if c.labels == NULL or c.label_ends == NULL:
        raise MemoryError
    memcpy(c.labels, <const uint8_t*>joined, len(joined))
    for i in range(len(labels)):
        end += <uint32_t>len(labels[i])
        c.label_ends[i] = end
    c.label_count = len(labels)
    return 0


cdef _taken(ColumnBuffer* buffer, int64_t rows, bint bits):
    """(validity, offsets, data) of the first `rows` rows, also when a malformed row left more; the buffer is empty then."""
    cdef size_t used = buffer.used
    cdef int32_t end
    if buffer.rows > rows:
        used = <size_t>rows * buffer.width if buffer.width else buffer.offsets[rows]
    validity = None
    offsets = None
    if buffer.nulls:
        validity = PyBytes_FromStringAndSize(<char*>buffer.valid, (rows + 7) // 8)
    if buffer.width == 0:
        offsets = bytes(4)
        if rows:
            end = <int32_t>used
            buffer.offsets[rows] = end
            offsets = PyBytes_FromStringAndSize(<char*>buffer.offsets, 4 * (rows + 1))
    data = _packed(buffer.data, rows) if bits else PyBytes_FromStringAndSize(<char*>buffer.data, used)
    buffer.used = 0
    buffer.nulls = 0
    buffer.rows = 0
    if buffer.data_capacity > KEPT_BYTES:
        free(buffer.data)
        buffer.data = NULL
        buffer.data_capacity = 0
    return validity, offsets, data


cdef bytes _packed(const uint8_t* flags, int64_t rows):
    cdef bytes packed = PyBytes_FromStringAndSize(NULL, (rows + 7) // 8)
    cdef uint8_t* target = <uint8_t*>packed
    cdef int64_t row
    memset(target, 0, (rows + 7) // 8)
    for row in range(rows):
        target[row >> 3] |= <uint8_t>(flags[row] << (row & 7))
    return packed


cdef int64_t _shortened(ColumnBuffer* buffer, int64_t rows):
    """Leaves the first `rows` rows; -> bytes of texts that went."""
    cdef size_t used = <size_t>rows * buffer.width if buffer.width else buffer.offsets[rows]
    cdef size_t gone = buffer.used - used
    cdef int64_t row
    buffer.nulls = 0
    for row in range(rows):
        buffer.nulls += not buffer.valid[row >> 3] >> (row & 7) & 1
    if rows & 7:
        buffer.valid[rows >> 3] &= <uint8_t>((1 << (rows & 7)) - 1)
    buffer.used = used
    buffer.rows = rows
    return 0 if buffer.width else <int64_t>gone
