# Values as PostgreSQL's output functions write them, appended to Arrow buffers.
#
# The session has set DateStyle ISO, TimeZone UTC, extra_float_digits 3, bytea_output hex. A text that is not exactly
# one of its column's type, or does not fit the column, becomes NULL and UNFIT: infinity, `0044-03-15 BC`, years of five
# digits, NaN and too many digits in a numeric.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memchr

from forebay_agent.kernel.buffers cimport ColumnBuffer, append_bytes, append_null, begin_row, reserve_data
from forebay_agent.kernel.real_numbers cimport double_number, float_number
from forebay_agent.kernel.text_values cimport (
    calendar_days,
    decimal_number,
    hexadecimal_bytes,
    int128,
    moment,
    moment_with_offset,
    whole_number,
)

cdef enum:
    GOOD = 0
    UNFIT_VALUE = 1
    NO_MEMORY = -1

cdef enum Kind:
    STRING
    BOOLEAN_TEXT  # t, f as true, false
    ADDRESS_TEXT  # an inet with its netmask
    BINARY
    BOOLEAN
    INTEGER
    FLOAT
    DECIMAL
    DATE
    TIMESTAMP
    TIMESTAMP_UTC

cdef struct Column:
    # where a captured column's values go; place: its number among the relation's columns
    ColumnBuffer buffer
    Kind kind
    int precision
    int scale
    int place

cdef inline int unfit_value(ColumnBuffer* c) noexcept nogil:
    return UNFIT_VALUE if append_null(c) == 0 else NO_MEMORY

cdef inline int append_hexadecimal(ColumnBuffer* c, const uint8_t* text, size_t size) noexcept nogil:
    if size < 2 or text[0] != 92 or text[1] != 120:  # \x
        return unfit_value(c)
    if reserve_data(c, size // 2) != 0:
        return NO_MEMORY
    if hexadecimal_bytes(text + 2, size - 2, c.data + c.used) != 0:
        return unfit_value(c)
    if begin_row(c, True) != 0:
        return NO_MEMORY
    c.used += (size - 2) // 2
    c.rows += 1
    return GOOD

cdef inline int append_boolean_text(ColumnBuffer* c, const uint8_t* text, size_t size) noexcept nogil:
    if size == 1 and text[0] == 116:
        return append_bytes(c, <const uint8_t*>"true", 4)
    if size == 1 and text[0] == 102:
        return append_bytes(c, <const uint8_t*>"false", 5)
    return unfit_value(c)

cdef inline int append_address(ColumnBuffer* c, const uint8_t* text, size_t size) noexcept nogil:
    """inet_out leaves out the netmask of a single host, the cast to text writes it."""
    if size == 0 or size > 64:
        return unfit_value(c)
    if append_bytes(c, text, size) != 0:
        return NO_MEMORY
    if memchr(text, 47, size) != NULL:  # '/'
        return GOOD
    if reserve_data(c, 4) != 0:
        return NO_MEMORY
    c.data[c.used] = 47
    if memchr(text, 58, size) == NULL:  # ':' is in every IPv6 address
        c.data[c.used + 1] = 51
        c.data[c.used + 2] = 50
        c.used += 3
    else:
        c.data[c.used + 1] = 49
        c.data[c.used + 2] = 50
        c.data[c.used + 3] = 56
        c.used += 4
    return GOOD

cdef inline int short_decimal(const uint8_t* text, size_t size, int precision, int scale, int128* value) noexcept nogil:
    """`decimal_number` of at most 18 digits, written with exactly `scale` places; -1 when it is not such a one."""
    cdef size_t i = 0
    cdef uint64_t result = 0
    cdef size_t point
    cdef int significant = 0
    if size and text[0] == 45:
        i = 1
    point = size - 1 - <size_t>scale if scale else size
    if size < i + 1 or size > i + 19 or (scale and (size < i + 2 + <size_t>scale or text[point] != 46)):
        return -1
    if not scale and size > i + 18:
        return -1
    while i < size:
        if i != point:
            if text[i] < 48 or text[i] > 57:
                return -1
            result = result * 10 + (text[i] - 48)
            significant += result != 0
        i += 1
    if significant > precision:
        return -1
    value[0] = -<int128>result if text[0] == 45 else <int128>result
    return 0

cdef inline int append_decimal(
    ColumnBuffer* c, const uint8_t* text, size_t size, int precision, int scale
) noexcept nogil:
    cdef int128 value = 0
    if (
        short_decimal(text, size, precision, scale, &value) != 0
        and decimal_number(text, size, precision, scale, &value) != 0
    ):
        return unfit_value(c)
    return append_bytes(c, <uint8_t*>&value, 16)

cdef inline int append_float(ColumnBuffer* c, const uint8_t* text, size_t size) noexcept nogil:
    cdef double wide = 0
    cdef float narrow = 0
    if c.width == 8:
        if double_number(text, size, &wide) != 0:
            return unfit_value(c)
        return append_bytes(c, <uint8_t*>&wide, 8)
    if float_number(text, size, &narrow) != 0:
        return unfit_value(c)
    return append_bytes(c, <uint8_t*>&narrow, 4)

cdef inline int append_value(Column* column, const uint8_t* text, size_t size) noexcept nogil:
    """GOOD, UNFIT_VALUE (then it is NULL) or NO_MEMORY."""
    cdef ColumnBuffer* c = &column.buffer
    cdef Kind kind = column.kind
    cdef int64_t number = 0
    cdef int32_t narrow
    cdef uint8_t truth
    cdef int wrong
    if kind == STRING:
        return append_bytes(c, text, size)
    if kind == DECIMAL:
        return append_decimal(c, text, size, column.precision, column.scale)
    if kind == FLOAT:
        return append_float(c, text, size)
    if kind == BOOLEAN:
        if size != 1 or (text[0] != 116 and text[0] != 102):
            return unfit_value(c)
        truth = text[0] == 116
        return append_bytes(c, &truth, 1)
    if kind == BINARY:
        return append_hexadecimal(c, text, size)
    if kind == BOOLEAN_TEXT:
        return append_boolean_text(c, text, size)
    if kind == ADDRESS_TEXT:
        return append_address(c, text, size)
    if kind == INTEGER:
        wrong = whole_number(text, size, &number)
    elif kind == TIMESTAMP:
        wrong = moment(text, size, &number)
    elif kind == TIMESTAMP_UTC:
        wrong = moment_with_offset(text, size, &number)
    else:
        wrong = -1 if size != 10 else calendar_days(text, &number)
    if wrong == 0:
        if c.width == 8:
            return append_bytes(c, <uint8_t*>&number, 8)
        narrow = <int32_t>number
        if narrow == number:
            return append_bytes(c, <uint8_t*>&narrow, 4)
    return unfit_value(c)
