# Dates and times of row events, appended to Arrow buffers.
#
#     DATE, NEWDATE    3 bytes little-endian: day 5 bits, month 4 bits, year
#     TIME2            3 bytes big-endian plus 2 ** 23: hours 10 bits, minutes 6, seconds 6; with the fraction one signed number
#     DATETIME2        5 bytes big-endian plus 2 ** 39: year * 13 + month 17 bits, day 5, hour 5, minute 6, second 6; fraction
#     TIMESTAMP2       4 bytes big-endian: seconds since 1970; fraction
#     fraction         (decimals + 1) // 2 bytes big-endian: hundredths, ten thousandths, millionths
#     TIME, DATETIME   3 and 8 bytes little-endian: the decimal numbers HHMMSS (signed) and YYYYMMDDHHMMSS
#     TIMESTAMP        4 bytes little-endian: seconds since 1970
#
# A TIMESTAMP of 0 is the zero date. Text is what MariaDB prints: of a column with n decimals, n places.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from forebay_agent.kernel.binlog_layout cimport (
    BAD_FRACTION,
    Column,
    TO_DATE,
    TO_TIMESTAMP,
    append_unfit,
    appended,
    big,
    little,
    write_digits,
    write_number,
)
from forebay_agent.kernel.buffers cimport append_bytes
from forebay_agent.kernel.text_values cimport civil_days

cdef extern from *:
    """
    static const int FOREBAY_FRACTION_UNITS[4] = {1000000, 10000, 100, 1};
    """
    const int* FRACTION_UNITS "FOREBAY_FRACTION_UNITS"  # by the number of bytes: microseconds of one

cdef enum:
    SECOND = 1000000

cdef struct Moment:
    int year
    int month
    int day
    int hour
    int minute
    int second
    int micro


cdef inline int read_fraction(const Column* c, const uint8_t* p, int* micro) noexcept nogil:
    """The fraction at `p` in microseconds; 0 or BAD_FRACTION."""
    cdef int size = (c.decimals + 1) // 2
    micro[0] = <int>big(p, size) * FRACTION_UNITS[size]
    return 0 if micro[0] < SECOND else BAD_FRACTION


cdef inline int write_fraction(const Column* c, uint8_t* text, int micro) noexcept nogil:
    """`.123` with the column's decimals; -> how many characters."""
    cdef uint8_t[6] written
    cdef int i
    if c.decimals == 0:
        return 0
    write_digits(written, micro, 6)
    text[0] = 46
    for i in range(c.decimals):
        text[1 + i] = written[i]
    return 1 + c.decimals


cdef inline int append_moment_text(Column* c, const Moment* m) noexcept nogil:
    cdef uint8_t[27] text
    write_digits(text, m.year, 4)
    text[4] = 45
    write_digits(text + 5, m.month, 2)
    text[7] = 45
    write_digits(text + 8, m.day, 2)
    text[10] = 32
    write_digits(text + 11, m.hour, 2)
    text[13] = 58
    write_digits(text + 14, m.minute, 2)
    text[16] = 58
    write_digits(text + 17, m.second, 2)
    return appended(append_bytes(&c.buffer, text, 19 + write_fraction(c, text + 19, m.micro)))


cdef inline int append_moment(Column* c, const Moment* m) noexcept nogil:
    cdef int64_t value
    if m.year > 9999:
        return append_unfit(c)
    if c.target != TO_TIMESTAMP:
        return append_moment_text(c, m)
    if civil_days(m.year, m.month, m.day, &value) != 0 or m.hour > 23 or m.minute > 59 or m.second > 59:
        return append_unfit(c)
    value = ((value * 24 + m.hour) * 60 + m.minute) * 60 * SECOND + <int64_t>m.second * SECOND + m.micro
    return appended(append_bytes(&c.buffer, <uint8_t*>&value, 8))


cdef inline int append_date(Column* c, const uint8_t* p) noexcept nogil:
    cdef int value = p[0] | (p[1] << 8) | (p[2] << 16)
    cdef int64_t days
    cdef int32_t narrow
    cdef uint8_t[10] text
    if value >> 9 > 9999:
        return append_unfit(c)
    if c.target == TO_DATE:
        if civil_days(value >> 9, (value >> 5) & 15, value & 31, &days) != 0:
            return append_unfit(c)
        narrow = <int32_t>days
        return appended(append_bytes(&c.buffer, <uint8_t*>&narrow, 4))
    write_digits(text, value >> 9, 4)
    text[4] = 45
    write_digits(text + 5, (value >> 5) & 15, 2)
    text[7] = 45
    write_digits(text + 8, value & 31, 2)
    return appended(append_bytes(&c.buffer, text, 10))


cdef inline int append_datetime(Column* c, const uint8_t* p) noexcept nogil:
    cdef Moment m
    cdef int64_t packed = <int64_t>big(p, 5) - (<int64_t>1 << 39)
    cdef int64_t months
    if read_fraction(c, p + 5, &m.micro) != 0:
        return BAD_FRACTION
    if packed < 0:  # the servers have no such dates
        return append_unfit(c)
    months = packed >> 22
    m.year = <int>(months // 13)
    m.month = <int>(months % 13)
    m.day = (packed >> 17) & 31
    m.hour = (packed >> 12) & 31
    m.minute = (packed >> 6) & 63
    m.second = packed & 63
    return append_moment(c, &m)


cdef inline int append_old_datetime(Column* c, const uint8_t* p) noexcept nogil:
    cdef Moment m
    cdef uint64_t packed = little(p, 8)
    cdef uint64_t date = packed // 1000000
    cdef int time = <int>(packed % 1000000)
    if date > 99999999:
        return append_unfit(c)
    m.year = <int>(date // 10000)
    m.month = <int>(date // 100 % 100)
    m.day = <int>(date % 100)
    m.hour = time // 10000
    m.minute = time // 100 % 100
    m.second = time % 100
    m.micro = 0
    return append_moment(c, &m)


cdef inline int append_instant(Column* c, uint64_t seconds, int micro) noexcept nogil:
    """A TIMESTAMP: at most 32 bits of seconds since 1970."""
    cdef Moment m
    cdef int64_t value = <int64_t>seconds * SECOND + micro
    cdef int64_t days, era, day_of_era, year_of_era, day_of_year, month
    if c.target == TO_TIMESTAMP:
        if value == 0:
            return append_unfit(c)
        return appended(append_bytes(&c.buffer, <uint8_t*>&value, 8))
    m.micro = micro
    if value == 0:
        m.year = m.month = m.day = m.hour = m.minute = m.second = 0
        return append_moment_text(c, &m)
    days = <int64_t>(seconds // 86400) + 719468  # civil from days, counting years from March
    era = days // 146097
    day_of_era = days - era * 146097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    m.day = <int>(day_of_year - (153 * month + 2) // 5 + 1)
    m.month = <int>(month + 3 if month < 10 else month - 9)
    m.year = <int>(year_of_era + era * 400 + (1 if m.month <= 2 else 0))
    m.hour = <int>(seconds // 3600 % 24)
    m.minute = <int>(seconds // 60 % 60)
    m.second = <int>(seconds % 60)
    return append_moment_text(c, &m)


cdef inline int append_timestamp(Column* c, const uint8_t* p) noexcept nogil:
    cdef int micro
    if read_fraction(c, p + 4, &micro) != 0:
        return BAD_FRACTION
    return append_instant(c, big(p, 4), micro)


cdef inline int append_time_text(Column* c, bint negative, int hour, int minute, int second, int micro) noexcept nogil:
    cdef uint8_t[32] text
    cdef int length = 0
    if negative:
        text[0] = 45
        length = 1
    if hour < 100:
        write_digits(text + length, hour, 2)
        length += 2
    else:
        length += write_number(text + length, hour)
    text[length] = 58
    write_digits(text + length + 1, minute, 2)
    text[length + 3] = 58
    write_digits(text + length + 4, second, 2)
    length += 6
    return appended(append_bytes(&c.buffer, text, length + write_fraction(c, text + length, micro)))


cdef inline int append_time(Column* c, const uint8_t* p) noexcept nogil:
    """The bytes of a TIME2, fraction and all, are one number; a negative time is that number's complement."""
    cdef int fraction_bytes = (c.decimals + 1) // 2
    cdef int bits = 8 * fraction_bytes
    cdef int64_t packed = <int64_t>big(p, 3 + fraction_bytes) - (<int64_t>1 << (23 + bits))
    cdef bint negative = packed < 0
    cdef int64_t whole
    cdef int64_t micro
    if negative:
        packed = -packed
    whole = packed >> bits
    micro = (packed & ((<int64_t>1 << bits) - 1)) * FRACTION_UNITS[fraction_bytes]
    if micro >= SECOND:
        return BAD_FRACTION
    return append_time_text(c, negative, (whole >> 12) & 1023, (whole >> 6) & 63, whole & 63, <int>micro)


cdef inline int append_old_time(Column* c, const uint8_t* p) noexcept nogil:
    cdef int32_t value = <int32_t>(little(p, 3) << 8) >> 8
    cdef bint negative = value < 0
    if negative:
        value = -value
    return append_time_text(c, negative, value // 10000, value // 100 % 100, value % 100, 0)
