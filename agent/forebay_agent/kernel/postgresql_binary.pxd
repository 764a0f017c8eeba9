# PostgreSQL's binary COPY format, and its values appended to Arrow buffers.
#
# Format (PostgreSQL manual, COPY, "Binary Format"; all numbers big-endian):
#
#     header   11 bytes `PGCOPY\n\377\r\n\0`, 32-bit flags (bit 16 "has oids" and critical bits must be 0), 32-bit length
#              of a header extension, the extension
#     row      16-bit number of fields; per field a 32-bit length (-1: NULL) and so many bytes
#     trailer  16-bit -1
#
# How a field is read follows from its column's Arrow type alone:
#
#     bool        1 byte 0 or 1                         int32, int64      2, 4 or 8 bytes, no wider than the column
#     float32/64  4 / 8 bytes IEEE 754                  date32            4 bytes, days since 2000-01-01
#     timestamp   8 bytes, microseconds since 2000      string, binary    the bytes (a uuid: 16 bytes, written as text)
#     decimal128  16-bit count, weight, sign, display scale, then `count` digits base 10000
#
# Each function gets `size` readable bytes at `p`. It returns DONE; UNFIT when the value is well formed but beyond what its
# column can hold, and NULL was appended instead; or a negative outcome. Little-endian machines only, as Arrow's wheels are.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from forebay_agent.kernel.buffers cimport ColumnBuffer, append_bytes, append_null

cdef extern from *:
    """
    #define FOREBAY_SIGNATURE "PGCOPY\\n\\377\\r\\n\\0"
    typedef unsigned __int128 forebay_u128;
    #define FOREBAY_E18 ((forebay_u128)1000000000000000000ULL)
    static const forebay_u128 FOREBAY_POWERS_OF_TEN[39] = {
        1ULL, 10ULL, 100ULL, 1000ULL,
        10000ULL, 100000ULL, 1000000ULL, 10000000ULL,
        100000000ULL, 1000000000ULL, 10000000000ULL, 100000000000ULL,
        1000000000000ULL, 10000000000000ULL, 100000000000000ULL, 1000000000000000ULL,
        10000000000000000ULL, 100000000000000000ULL, 1000000000000000000ULL, FOREBAY_E18 * 10ULL,
        FOREBAY_E18 * 100ULL, FOREBAY_E18 * 1000ULL, FOREBAY_E18 * 10000ULL, FOREBAY_E18 * 100000ULL,
        FOREBAY_E18 * 1000000ULL, FOREBAY_E18 * 10000000ULL, FOREBAY_E18 * 100000000ULL, FOREBAY_E18 * 1000000000ULL,
        FOREBAY_E18 * 10000000000ULL, FOREBAY_E18 * 100000000000ULL, FOREBAY_E18 * 1000000000000ULL, FOREBAY_E18 * 10000000000000ULL,
        FOREBAY_E18 * 100000000000000ULL, FOREBAY_E18 * 1000000000000000ULL, FOREBAY_E18 * 10000000000000000ULL, FOREBAY_E18 * 100000000000000000ULL,
        FOREBAY_E18 * 1000000000000000000ULL, FOREBAY_E18 * FOREBAY_E18 * 10ULL, FOREBAY_E18 * FOREBAY_E18 * 100ULL,
    };
    /* PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01; what fits are the years 0001 to 9999 */
    #define FOREBAY_DAYS_TO_2000 10957
    #define FOREBAY_FIRST_DAY (-719162 - 10957)
    #define FOREBAY_LAST_DAY (2932896 - 10957)
    #define FOREBAY_MICROSECONDS_TO_2000 946684800000000LL
    #define FOREBAY_FIRST_MICROSECOND (-62135596800000000LL - 946684800000000LL)
    #define FOREBAY_LAST_MICROSECOND (253402300799999999LL - 946684800000000LL)
    """
    const char* SIGNATURE "FOREBAY_SIGNATURE"
    ctypedef unsigned long long u128 "forebay_u128"
    const u128* POWERS_OF_TEN "FOREBAY_POWERS_OF_TEN"
    const int32_t DAYS_TO_2000 "FOREBAY_DAYS_TO_2000"
    const int32_t FIRST_DAY "FOREBAY_FIRST_DAY"
    const int32_t LAST_DAY "FOREBAY_LAST_DAY"
    const int64_t MICROSECONDS_TO_2000 "FOREBAY_MICROSECONDS_TO_2000"
    const int64_t FIRST_MICROSECOND "FOREBAY_FIRST_MICROSECOND"
    const int64_t LAST_MICROSECOND "FOREBAY_LAST_MICROSECOND"

cdef enum:
    HEADER_BYTES = 19
    MOST_FIELD_BYTES = 0x40000000

cdef enum Outcome:
    DONE = 0
    UNFIT = 1
    NO_MEMORY = -1
    BAD_LENGTH = -2
    BAD_DIGITS = -3
    BAD_BOOLEAN = -4
    BAD_FIELD_COUNT = -5
    BAD_FIELD_LENGTH = -6
    BAD_SIGNATURE = -7
    BAD_FLAGS = -8
    AFTER_END = -9


cdef inline uint16_t read16(const uint8_t* p) noexcept nogil:
    return <uint16_t>((p[0] << 8) | p[1])


cdef inline uint32_t read32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline uint64_t read64(const uint8_t* p) noexcept nogil:
    return (<uint64_t>read32(p) << 32) | read32(p + 4)


cdef inline int64_t measure_header(const uint8_t* data, size_t size) noexcept nogil:
    """Bytes of the header at `data`; 0 when it is not complete; or a negative outcome."""
    cdef int32_t extension
    if memcmp(data, SIGNATURE, 11 if size > 11 else size) != 0:
        return BAD_SIGNATURE
    if size < HEADER_BYTES:
        return 0
    if read32(data + 11) >> 16:
        return BAD_FLAGS
    extension = <int32_t>read32(data + 15)
    if extension < 0 or extension > MOST_FIELD_BYTES:
        return BAD_FIELD_LENGTH
    return <int64_t>HEADER_BYTES + extension if size - HEADER_BYTES >= <size_t>extension else 0


cdef inline int64_t measure_row(const uint8_t* data, size_t size, int fields) noexcept nogil:
    """Bytes of the row at `data`; 0 when it is not complete; or a negative outcome."""
    cdef size_t at = 2
    cdef int number
    cdef int32_t length
    if size < 2:
        return 0
    if read16(data) != fields:
        return BAD_FIELD_COUNT
    for number in range(fields):
        if size - at < 4:
            return 0
        length = <int32_t>read32(data + at)
        at += 4
        if length == -1:
            continue
        if length < 0 or length > MOST_FIELD_BYTES:
            return BAD_FIELD_LENGTH
        if size - at < <size_t>length:
            return 0
        at += length
    return <int64_t>at


cdef inline bint is_trailer(const uint8_t* data, size_t size) noexcept nogil:
    return size >= 2 and data[0] == 0xFF and data[1] == 0xFF


cdef inline int appended(int status) noexcept nogil:
    return DONE if status == 0 else NO_MEMORY


cdef inline int append_integer(ColumnBuffer* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef int64_t value
    if size == 8:
        value = <int64_t>read64(p)
    elif size == 4:
        value = <int32_t>read32(p)
    elif size == 2:
        value = <int16_t>read16(p)
    else:
        return BAD_LENGTH
    if size > <size_t>c.width:
        return BAD_LENGTH
    return appended(append_bytes(c, <uint8_t*>&value, c.width))  # little-endian: the low bytes come first


cdef inline int append_float(ColumnBuffer* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef uint64_t value
    if size != <size_t>c.width:
        return BAD_LENGTH
    value = read64(p) if size == 8 else read32(p)
    return appended(append_bytes(c, <uint8_t*>&value, c.width))


cdef inline int append_boolean(ColumnBuffer* c, const uint8_t* p, size_t size) noexcept nogil:
    if size != 1:
        return BAD_LENGTH
    if p[0] > 1:
        return BAD_BOOLEAN
    return appended(append_bytes(c, p, 1))


cdef inline int append_unfit(ColumnBuffer* c) noexcept nogil:
    return UNFIT if append_null(c) == 0 else NO_MEMORY


cdef inline int append_date(ColumnBuffer* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef int32_t days
    if size != 4:
        return BAD_LENGTH
    days = <int32_t>read32(p)
    if days < FIRST_DAY or days > LAST_DAY:
        return append_unfit(c)
    days += DAYS_TO_2000
    return appended(append_bytes(c, <uint8_t*>&days, 4))


cdef inline int append_timestamp(ColumnBuffer* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef int64_t microseconds
    if size != 8:
        return BAD_LENGTH
    microseconds = <int64_t>read64(p)
    if microseconds < FIRST_MICROSECOND or microseconds > LAST_MICROSECOND:
        return append_unfit(c)
    microseconds += MICROSECONDS_TO_2000
    return appended(append_bytes(c, <uint8_t*>&microseconds, 8))


cdef inline uint8_t hexadecimal(uint8_t digit) noexcept nogil:
    return 48 + digit if digit < 10 else 87 + digit


cdef inline int append_uuid(ColumnBuffer* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef uint8_t[36] text
    cdef int at = 0
    cdef int number
    if size != 16:
        return BAD_LENGTH
    for number in range(16):
        if number == 4 or number == 6 or number == 8 or number == 10:
            text[at] = 45  # '-'
            at += 1
        text[at] = hexadecimal(p[number] >> 4)
        text[at + 1] = hexadecimal(p[number] & 15)
        at += 2
    return appended(append_bytes(c, text, 36))


cdef inline int append_decimal(
    ColumnBuffer* c, const uint8_t* p, size_t size, int precision, int scale
) noexcept nogil:
    """A numeric: sum of digit[i] * 10000^(weight - i), times 10^scale, exactly or UNFIT."""
    cdef int count, power, number
    cdef int32_t weight
    cdef uint16_t sign, digit
    cdef u128 value = 0
    if size < 8:
        return BAD_LENGTH
    count = read16(p)
    weight = <int16_t>read16(p + 2)
    sign = read16(p + 4)
    if size != 8 + 2 * <size_t>count:
        return BAD_LENGTH
    if sign == 0xC000 or sign == 0xD000 or sign == 0xF000:  # NaN, Infinity, -Infinity
        return append_unfit(c) if count == 0 else BAD_DIGITS
    if sign != 0 and sign != 0x4000:
        return BAD_DIGITS
    for number in range(count):
        if read16(p + 8 + 2 * number) > 9999:
            return BAD_DIGITS
    while count > 0 and read16(p + 8 + 2 * (count - 1)) == 0:
        count -= 1
    for number in range(count):
        digit = read16(p + 8 + 2 * number)
        power = 4 * (weight - number) + scale  # of ten, of this digit's unit, in units of the scale
        if value == 0 and digit == 0:
            continue
        if power >= 0:
            if value >= POWERS_OF_TEN[34]:
                return append_unfit(c)
            value = value * 10000 + digit
        else:  # only a part of this last digit lies before the scale's end; the rest must be zero
            if power <= -4 or number != count - 1 or digit % <uint16_t>POWERS_OF_TEN[-power] != 0:
                return append_unfit(c)
            if value >= POWERS_OF_TEN[34 - power]:
                return append_unfit(c)
            value = value * POWERS_OF_TEN[4 + power] + digit // <uint16_t>POWERS_OF_TEN[-power]
    power = 4 * (weight - count + 1) + scale
    if value != 0 and power > 0:
        if power > 38 or value >= POWERS_OF_TEN[38 - power]:
            return append_unfit(c)
        value = value * POWERS_OF_TEN[power]
    if value >= POWERS_OF_TEN[precision]:
        return append_unfit(c)
    if sign == 0x4000:
        value = 0 - value
    return appended(append_bytes(c, <uint8_t*>&value, 16))
