# How a column's values are laid out in MySQL's and MariaDB's row events, and what is asked of them.
#
# A row image is a bitmap (bit set: the column is NULL), then the values of the other columns one after the other, each in the
# layout of its type ("field->pack" in the servers' sources; the type and 0 to 2 bytes of metadata stand in the TABLE_MAP):
#
#     TINY SHORT INT24 LONG LONGLONG YEAR     1, 2, 3, 4, 8, 1 bytes, little-endian (YEAR: minus 1900)
#     FLOAT DOUBLE                            4, 8 bytes IEEE 754, little-endian
#     NEWDECIMAL (precision, scale)           see binlog_numbers.pxd          BIT (bits % 8, bytes)   big-endian
#     DATE TIME DATETIME TIMESTAMP, …2 (fsp)  see binlog_moments.pxd
#     VARCHAR (16-bit length)                 length in 1 byte, or 2 where it may pass 255, and the bytes
#     STRING (real type and length)           the same; ENUM and SET: a number of 1, 2 or up to 8 bytes, little-endian
#     BLOB GEOMETRY JSON VECTOR (n)           length in n bytes, and the bytes
#
# Functions of the kernel's .pxd files are nogil. Those that append a value return DONE; UNFIT when the value is well formed but
# beyond what its target can hold, and NULL was appended instead; or a negative outcome. Little-endian machines only.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from forebay_agent.kernel.buffers cimport ColumnBuffer, append_bytes, append_null
from forebay_agent.kernel.text_values cimport int128

cdef enum Outcome:
    DONE = 0
    UNFIT = 1
    NO_MEMORY = -1
    CUT = -2
    TOO_LONG = -3
    BAD_DIGITS = -4
    BAD_FRACTION = -5
    BAD_WIDTH = -6
    BAD_LENGTH = -7
    BAD_OFFSET = -8
    BAD_SEQUENCE = -10
    BAD_STATUS = -11
    BAD_SIZE = -12
    BAD_CHECKSUM = -13
    NOT_IN_TRANSACTION = -15
    IN_TRANSACTION = -16
    HUGE_EVENT = -17
    BAD_FORMAT = -18

cdef enum Target:
    TO_NOTHING = 0
    TO_BYTES
    TO_INT32
    TO_INT64
    TO_DECIMAL
    TO_FLOAT
    TO_DOUBLE
    TO_BOOL
    TO_DATE
    TO_TIMESTAMP
    TO_TEXT
    TO_HEX
    TO_UUID
    TO_INET4
    TO_INET6

cdef enum Family:
    # what a value is, as far as reading it goes
    INTEGER_VALUE
    YEAR_VALUE
    FLOAT_VALUE
    DOUBLE_VALUE
    DECIMAL_VALUE
    BIT_VALUE
    ENUM_VALUE
    SET_VALUE
    DATE_VALUE
    TIME_VALUE
    DATETIME_VALUE
    TIMESTAMP_VALUE
    OLD_TIME_VALUE
    OLD_DATETIME_VALUE
    OLD_TIMESTAMP_VALUE
    BYTES_VALUE
    NO_VALUE

cdef enum:
    MOST_COLUMNS = 4096
    MOST_ZEROFILL = 255

cdef struct Column:
    ColumnBuffer buffer
    Family family
    Target target
    bint captured
    bint copied          # the value's bytes are the target's
    bint is_unsigned
    bint key
    int number           # among the captured columns
    int prefix           # bytes of the length before the value; 0: the value has `size` bytes
    int64_t size         # bytes of the value, at most so many where a length stands before it
    int padded           # a BINARY's length
    int decimals         # of a time's seconds
    int zerofill
    int precision        # of a decimal on the wire
    int scale
    int128 limit         # of a decimal target: 10 ** its precision
    int label_count
    uint8_t* labels      # all of them, one after the other
    uint32_t* label_ends


cdef inline uint64_t little(const uint8_t* p, int size) noexcept nogil:
    """A number of 0 to 8 bytes."""
    cdef uint64_t value = 0
    cdef int i
    for i in range(size):
        value |= <uint64_t>p[i] << (8 * i)
    return value


cdef inline uint64_t big(const uint8_t* p, int size) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(size):
        value = (value << 8) | p[i]
    return value


cdef inline int64_t measure(const Column* c, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Bytes of the value at `p`, with the length before it; or a negative outcome."""
    cdef int64_t length
    cdef int64_t available = end - p
    if c.prefix == 0:
        return c.size if c.size <= available else <int64_t>CUT
    if c.prefix == 1:
        if available < 1:
            return CUT
        length = p[0]
    elif c.prefix == 2:
        if available < 2:
            return CUT
        length = p[0] | (<int64_t>p[1] << 8)
    else:
        if available < c.prefix:
            return CUT
        length = <int64_t>little(p, c.prefix)
    if length > c.size:
        return TOO_LONG
    length += c.prefix
    return length if length <= available else <int64_t>CUT


cdef inline int appended(int status) noexcept nogil:
    return DONE if status == 0 else NO_MEMORY


cdef inline int append_unfit(Column* c) noexcept nogil:
    return UNFIT if append_null(&c.buffer) == 0 else NO_MEMORY


cdef inline int write_number(uint8_t* text, uint64_t value) noexcept nogil:
    """Writes a number of up to 20 digits; -> how many."""
    cdef uint8_t[20] reversed
    cdef int count = 0
    cdef int i
    while True:
        reversed[count] = <uint8_t>(48 + value % 10)
        value = value // 10
        count += 1
        if value == 0:
            break
    for i in range(count):
        text[i] = reversed[count - 1 - i]
    return count


cdef inline void write_digits(uint8_t* text, uint64_t value, int count) noexcept nogil:
    """Writes the last `count` digits of a number."""
    cdef int i
    for i in range(count - 1, -1, -1):
        text[i] = <uint8_t>(48 + value % 10)
        value = value // 10


cdef inline int append_padded_text(Column* c, const uint8_t* text, int size) noexcept nogil:
    """A number's text, with zeros before it where the column is ZEROFILL."""
    cdef uint8_t[MOST_ZEROFILL + 1] padded
    cdef int zeros = c.zerofill - size
    cdef int i
    if zeros <= 0 or text[0] == 45:
        return appended(append_bytes(&c.buffer, text, size))
    for i in range(zeros):
        padded[i] = 48
    memcpy(padded + zeros, text, size)
    return appended(append_bytes(&c.buffer, padded, c.zerofill))
