# Numbers of row events, appended to Arrow buffers.
#
# NEWDECIMAL (precision, scale; `decimal2bin` in the servers' strings/decimal.c): the digits before the point and those after it
# in groups of nine from the point outwards, each group a big-endian number of 4 bytes; the outermost groups, of 1 to 8 digits,
# take 1, 1, 2, 2, 3, 3, 4, 4 bytes. All bits of a negative number are inverted, and then the first bit of all.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from forebay_agent.kernel.binlog_layout cimport (
    BAD_DIGITS,
    Column,
    TO_BOOL,
    TO_DECIMAL,
    TO_INT32,
    TO_INT64,
    append_padded_text,
    append_unfit,
    appended,
    big,
    little,
    write_digits,
    write_number,
)
from forebay_agent.kernel.buffers cimport append_bytes
from forebay_agent.kernel.text_values cimport int128

cdef extern from *:
    """
    static const unsigned char FOREBAY_GROUP_BYTES[10] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 4};
    static const unsigned int FOREBAY_GROUP_LIMITS[10] = {
        1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000,
    };
    """
    const uint8_t* GROUP_BYTES "FOREBAY_GROUP_BYTES"
    const uint32_t* GROUP_LIMITS "FOREBAY_GROUP_LIMITS"

cdef enum:
    MOST_DIGITS = 65


cdef inline int decimal_bytes(int precision, int scale) noexcept nogil:
    cdef int whole = precision - scale
    return whole // 9 * 4 + GROUP_BYTES[whole % 9] + scale // 9 * 4 + GROUP_BYTES[scale % 9]


cdef inline int append_integer(Column* c, int64_t value, bint huge) noexcept nogil:
    """huge: `value` is unsigned and at least 2 ** 63."""
    cdef int32_t narrow
    cdef uint8_t flag
    cdef uint8_t[21] text
    cdef int128 wide
    if c.target == TO_INT32:
        narrow = <int32_t>value
        if huge or narrow != value:
            return append_unfit(c)
        return appended(append_bytes(&c.buffer, <uint8_t*>&narrow, 4))
    if c.target == TO_INT64:
        if huge:
            return append_unfit(c)
        return appended(append_bytes(&c.buffer, <uint8_t*>&value, 8))
    if c.target == TO_DECIMAL:
        wide = <int128><uint64_t>value if huge else <int128>value
        if wide >= c.limit or wide <= -c.limit:
            return append_unfit(c)
        return appended(append_bytes(&c.buffer, <uint8_t*>&wide, 16))
    if c.target == TO_BOOL:
        flag = <uint8_t>value
        if huge or value < 0 or value > 1:
            return append_unfit(c)
        return appended(append_bytes(&c.buffer, &flag, 1))
    if value < 0 and not huge:
        text[0] = 45
        return append_padded_text(c, text, 1 + write_number(text + 1, <uint64_t>0 - <uint64_t>value))
    return append_padded_text(c, text, write_number(text, <uint64_t>value))


cdef inline int append_little_integer(Column* c, const uint8_t* p) noexcept nogil:
    cdef int unused = <int>(64 - 8 * c.size)
    cdef uint64_t raw = little(p, <int>c.size)
    if c.is_unsigned:
        return append_integer(c, <int64_t>raw, (raw >> 63) != 0)
    return append_integer(c, <int64_t>(raw << unused) >> unused, False)


cdef inline int append_big_integer(Column* c, const uint8_t* p) noexcept nogil:
    """A BIT's value."""
    cdef uint64_t raw = big(p, <int>c.size)
    return append_integer(c, <int64_t>raw, (raw >> 63) != 0)


cdef inline int append_year(Column* c, const uint8_t* p) noexcept nogil:
    """0 stands for the year 0000, else years since 1900."""
    cdef int year = p[0] + 1900 if p[0] else 0
    cdef uint8_t[4] text
    if c.target == TO_INT32 or c.target == TO_INT64 or c.target == TO_DECIMAL or c.target == TO_BOOL:
        return append_integer(c, year, False)
    write_digits(text, year, 4)
    return appended(append_bytes(&c.buffer, text, 4))


cdef inline int append_double_of_float(Column* c, const uint8_t* p) noexcept nogil:
    cdef float narrow
    cdef double value
    memcpy(&narrow, p, 4)
    value = narrow
    return appended(append_bytes(&c.buffer, <uint8_t*>&value, 8))


cdef inline int64_t decimal_group(const uint8_t* p, int at, int digits, uint8_t inverted) noexcept nogil:
    """The group of so many digits at p[at:], or BAD_DIGITS."""
    cdef int size = GROUP_BYTES[digits]
    cdef uint32_t value = 0
    cdef uint8_t byte
    cdef int i
    for i in range(at, at + size):
        byte = p[i] ^ inverted
        if i == 0:
            byte ^= 0x80
        value = (value << 8) | byte
    return value if value < GROUP_LIMITS[digits] else <int64_t>BAD_DIGITS


cdef inline int append_decimal(Column* c, const uint8_t* p) noexcept nogil:
    """A NEWDECIMAL; the caller has seen to it that `c.size` bytes are there."""
    cdef uint8_t inverted = 0 if p[0] & 0x80 else 0xff
    cdef int whole = c.precision - c.scale
    cdef int at = 0
    cdef int left, digits
    cdef int64_t group
    cdef int128 value = 0
    if c.target != TO_DECIMAL:
        return append_decimal_text(c, p, inverted)
    left = whole
    while left > 0:
        digits = left % 9 if left % 9 else 9
        group = decimal_group(p, at, digits, inverted)
        if group < 0:
            return <int>group
        value = value * GROUP_LIMITS[digits] + group
        at += GROUP_BYTES[digits]
        left -= digits
    left = c.scale
    while left > 0:
        digits = 9 if left > 9 else left
        group = decimal_group(p, at, digits, inverted)
        if group < 0:
            return <int>group
        value = value * GROUP_LIMITS[digits] + group
        at += GROUP_BYTES[digits]
        left -= digits
    if value >= c.limit:
        return append_unfit(c)
    if inverted:
        value = -value
    return appended(append_bytes(&c.buffer, <uint8_t*>&value, 16))


cdef inline int append_decimal_text(Column* c, const uint8_t* p, uint8_t inverted) noexcept nogil:
    cdef uint8_t[MOST_DIGITS + 4] text
    cdef uint8_t[9] written
    cdef int whole = c.precision - c.scale
    cdef int at = 0
    cdef int length = 0
    cdef int left, digits, i
    cdef int64_t group
    cdef bint leading = True
    if inverted:
        text[0] = 45
        length = 1
    left = whole
    while left > 0:
        digits = left % 9 if left % 9 else 9
        group = decimal_group(p, at, digits, inverted)
        if group < 0:
            return <int>group
        write_digits(written, <uint64_t>group, digits)
        for i in range(digits):
            if leading and written[i] == 48:
                continue
            leading = False
            text[length] = written[i]
            length += 1
        at += GROUP_BYTES[digits]
        left -= digits
    if leading:
        text[length] = 48
        length += 1
    if c.scale:
        text[length] = 46
        length += 1
    left = c.scale
    while left > 0:
        digits = 9 if left > 9 else left
        group = decimal_group(p, at, digits, inverted)
        if group < 0:
            return <int>group
        write_digits(text + length, <uint64_t>group, digits)
        length += digits
        at += GROUP_BYTES[digits]
        left -= digits
    return append_padded_text(c, text, length)
