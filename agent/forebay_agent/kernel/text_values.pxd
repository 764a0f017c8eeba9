# Text of numbers, dates and moments as databases write it in ASCII, to the values that Arrow holds.
#
# All functions are nogil, never read past the bytes that they are given, and return 0, or -1 when the text is not exactly
# what they expect: nothing is rounded, wrapped or guessed.
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef extern from *:
    """
    typedef __int128 forebay_int128;
    #define FOREBAY_FIRST_MOMENT (-62135596800000000LL)
    #define FOREBAY_LAST_MOMENT 253402300799999999LL
    """
    ctypedef long long int128 "forebay_int128"  # Cython only needs to know that it is an integer
    const int64_t FIRST_MOMENT "FOREBAY_FIRST_MOMENT"  # 0001-01-01 in microseconds since 1970
    const int64_t LAST_MOMENT "FOREBAY_LAST_MOMENT"  # 9999-12-31 23:59:59.999999

cdef inline int digits(const uint8_t* text, size_t count, int* value) noexcept nogil:
    """Exactly `count` digits; -1 when one is something else."""
    cdef size_t i
    cdef int result = 0
    for i in range(count):
        if text[i] < 48 or text[i] > 57:
            return -1
        result = result * 10 + (text[i] - 48)
    value[0] = result
    return 0

cdef inline int whole_number(const uint8_t* text, size_t size, int64_t* value) noexcept nogil:
    """A decimal integer that fits 64 bits with sign; -1 when it is none."""
    cdef size_t i = 0
    cdef bint negative = False
    cdef uint64_t result = 0
    cdef uint64_t limit
    cdef uint64_t digit
    if size and text[0] == 45:
        negative = True
        i = 1
    if i == size:
        return -1
    limit = (<uint64_t>1 << 63) - (0 if negative else 1)
    while i < size:
        if text[i] < 48 or text[i] > 57:
            return -1
        digit = text[i] - 48
        if result > (limit - digit) // 10:
            return -1
        result = result * 10 + digit
        i += 1
    value[0] = <int64_t>(0 - result) if negative else <int64_t>result
    return 0

cdef inline int decimal_number(
    const uint8_t* text, size_t size, int precision, int scale, int128* value
) noexcept nogil:
    """A decimal of at most `precision` digits, `scale` of them after the point; -1 when it is none."""
    cdef size_t i = 0
    cdef bint negative = False
    cdef bint point = False
    cdef bint any_digit = False
    cdef int significant = 0
    cdef int fraction = 0
    cdef int128 result = 0
    if size and text[0] == 45:
        negative = True
        i = 1
    while i < size:
        if text[i] == 46 and not point:
            point = True
        elif 48 <= text[i] <= 57:
            any_digit = True
            if point:
                fraction += 1
            if significant or text[i] != 48:
                significant += 1
                if significant > precision:
                    return -1
            result = result * 10 + (text[i] - 48)
        else:
            return -1
        i += 1
    if not any_digit or fraction > scale:
        return -1
    while fraction < scale:
        fraction += 1
        if significant:
            significant += 1
            if significant > precision:
                return -1
        result = result * 10
    value[0] = -result if negative else result
    return 0

cdef inline int civil_days(int year, int month, int day, int64_t* value) noexcept nogil:
    """A date as days since 1970-01-01; -1 when there is no such day, or its year is not 1 to 9999."""
    cdef int last
    cdef int64_t era, year_of_era, day_of_year, shifted
    if year < 1 or year > 9999 or month < 1 or month > 12 or day < 1:
        return -1
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    else:
        last = 30 + ((month + (month >> 3)) & 1)
    if day > last:
        return -1
    # days from civil, counting years from March
    shifted = year - (1 if month <= 2 else 0)
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    value[0] = era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
    return 0

cdef inline int calendar_days(const uint8_t* text, int64_t* value) noexcept nogil:
    """`YYYY-MM-DD` (10 bytes) as days since 1970-01-01; -1 when there is no such day, or its year is 0."""
    cdef int year, month, day
    if (
        digits(text, 4, &year) != 0 or text[4] != 45 or digits(text + 5, 2, &month) != 0
        or text[7] != 45 or digits(text + 8, 2, &day) != 0
    ):
        return -1
    return civil_days(year, month, day, value)

cdef inline int moment(const uint8_t* text, size_t size, int64_t* value) noexcept nogil:
    """`YYYY-MM-DD HH:MM:SS[.f…]` (up to 6 places) as microseconds since 1970; -1 when it is none."""
    cdef int64_t days
    cdef int hour, minute, second
    cdef int micro = 0
    cdef size_t places
    if size < 19 or size == 20 or size > 26 or calendar_days(text, &days) != 0:
        return -1
    if (
        text[10] != 32 or digits(text + 11, 2, &hour) != 0 or text[13] != 58 or digits(text + 14, 2, &minute) != 0
        or text[16] != 58 or digits(text + 17, 2, &second) != 0 or hour > 23 or minute > 59 or second > 59
    ):
        return -1
    if size > 20:
        if text[19] != 46 or digits(text + 20, size - 20, &micro) != 0:
            return -1
        places = size - 20
        while places < 6:
            micro = micro * 10
            places += 1
    value[0] = ((days * 24 + hour) * 60 + minute) * 60000000 + <int64_t>second * 1000000 + micro
    return 0

cdef inline int moment_with_offset(const uint8_t* text, size_t size, int64_t* value) noexcept nogil:
    """A moment followed by its offset from UTC (`+08`, `-03:30`, `+08:05:43`), as microseconds since 1970 in UTC; -1 when it is
    none, or lies in UTC outside the years 1 to 9999."""
    cdef size_t at = 19
    cdef int hours
    cdef int minutes = 0
    cdef int seconds = 0
    cdef int64_t offset
    while at < size and text[at] != 43 and text[at] != 45:
        at += 1
    if size < at + 3 or moment(text, at, value) != 0 or digits(text + at + 1, 2, &hours) != 0:
        return -1
    if size > at + 3:
        if size < at + 6 or text[at + 3] != 58 or digits(text + at + 4, 2, &minutes) != 0:
            return -1
        if size > at + 6 and (size != at + 9 or text[at + 6] != 58 or digits(text + at + 7, 2, &seconds) != 0):
            return -1
    if minutes > 59 or seconds > 59:
        return -1
    offset = (<int64_t>hours * 3600 + minutes * 60 + seconds) * 1000000
    value[0] += offset if text[at] == 45 else -offset
    return 0 if FIRST_MOMENT <= value[0] <= LAST_MOMENT else -1

cdef inline int nibble(uint8_t digit) noexcept nogil:
    """The value of a hexadecimal digit; -1 when it is none."""
    if 48 <= digit <= 57:
        return digit - 48
    digit |= 32
    return digit - 87 if 97 <= digit <= 102 else -1

cdef inline int hexadecimal_bytes(const uint8_t* text, size_t size, uint8_t* value) noexcept nogil:
    """Pairs of hexadecimal digits as size // 2 bytes; -1 when they are none."""
    cdef size_t i
    cdef int high, low
    cdef int wrong = size & 1
    for i in range(size // 2):
        high = nibble(text[2 * i])
        low = nibble(text[2 * i + 1])
        wrong |= (high | low) < 0
        value[i] = <uint8_t>((high << 4) | (low & 15))
    return -1 if wrong else 0
