# The canonical text of one value (forebay_wire.canonical), from an Arrow buffer, written at `out`; -> its length.
#
# `out` has room for MOST_DIGITS bytes; text and binary are copied by the caller. All functions are nogil and cannot fail.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    MOST_DIGITS = 96

cdef extern from *:
    """
    static const char FB_PAIRS[201] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    """
    const char* FB_PAIRS


cdef inline int write_unsigned(uint8_t* out, uint64_t value) noexcept nogil:
    """Decimal digits."""
    cdef uint8_t digits[24]
    cdef int at = 24
    cdef uint64_t rest
    cdef int pair
    while value >= 100:
        rest = value // 100
        pair = <int>(value - rest * 100) * 2
        value = rest
        at -= 2
        digits[at] = FB_PAIRS[pair]
        digits[at + 1] = FB_PAIRS[pair + 1]
    if value >= 10:
        at -= 2
        digits[at] = FB_PAIRS[value * 2]
        digits[at + 1] = FB_PAIRS[value * 2 + 1]
    else:
        at -= 1
        digits[at] = <uint8_t>(48 + value)
    memcpy(out, digits + at, 24 - at)
    return 24 - at


cdef inline int write_signed(uint8_t* out, int64_t value) noexcept nogil:
    if value >= 0:
        return write_unsigned(out, <uint64_t>value)
    out[0] = 45
    return 1 + write_unsigned(out + 1, 0 - <uint64_t>value)


cdef inline int write_padded(uint8_t* out, uint64_t value, int digits) noexcept nogil:
    """Decimal digits, with zeros before them."""
    cdef int at
    for at in range(digits - 1, -1, -1):
        out[at] = <uint8_t>(48 + value % 10)
        value = value // 10
    return digits


cdef inline int write_double(uint8_t* out, double value) noexcept nogil:
    """The bit pattern as a signed number; every NaN the same."""
    cdef int64_t bits
    if value != value:
        bits = <int64_t>0x7FF8000000000000
    else:
        memcpy(&bits, &value, 8)
    return write_signed(out, bits)


cdef inline int write_decimal(uint8_t* out, const uint8_t* stored, int scale) noexcept nogil:
    """A decimal128 as Arrow writes it: all digits of its scale; in scientific notation where its exponent is below -6 or
    the scale is negative."""
    cdef uint64_t low, high
    cdef uint8_t digits[48]
    cdef int count, exponent, written = 0
    cdef uint8_t* first
    memcpy(&low, stored, 8)
    memcpy(&high, stored + 8, 8)
    if high >> 63:
        out[0] = 45
        written = 1
        low = 0 - low
        high = ~high + (1 if low == 0 else 0)
    if high == 0:
        count = write_unsigned(digits, low)
    else:
        count = write_wide(digits, high, low)
    first = out + written
    if scale == 0:
        memcpy(first, digits, count)
        return written + count
    exponent = count - 1 - scale
    if scale < 0 or exponent < -6:
        first[0] = digits[0]
        if count > 1:
            first[1] = 46
            memcpy(first + 2, digits + 1, count - 1)
            count += 1
        first[count] = 69
        if exponent >= 0:
            first[count + 1] = 43
            return written + count + 2 + write_signed(first + count + 2, exponent)
        return written + count + 1 + write_signed(first + count + 1, exponent)
    if count > scale:
        memcpy(first, digits, count - scale)
        first[count - scale] = 46
        memcpy(first + count - scale + 1, digits + count - scale, scale)
        return written + count + 1
    first[0] = 48
    first[1] = 46
    memset(first + 2, 48, scale - count)
    memcpy(first + 2 + scale - count, digits, count)
    return written + scale + 2


cdef extern from *:
    """
    static int fb_split(uint64_t high, uint64_t low, uint64_t *upper, uint64_t *middle, uint64_t *lower) {
        const uint64_t ten18 = 1000000000000000000ULL;
        unsigned __int128 value = ((unsigned __int128)high << 64) | low;
        *lower = (uint64_t)(value % ten18);
        value /= ten18;
        *middle = (uint64_t)(value % ten18);
        *upper = (uint64_t)(value / ten18);
        return 0;
    }
    """
    int fb_split(uint64_t high, uint64_t low, uint64_t* upper, uint64_t* middle, uint64_t* lower) noexcept nogil


cdef inline int write_wide(uint8_t* out, uint64_t high, uint64_t low) noexcept nogil:
    """Decimal digits of a number of more than 64 bits."""
    cdef uint64_t upper, middle, lower
    cdef int count
    fb_split(high, low, &upper, &middle, &lower)
    if upper:
        count = write_unsigned(out, upper)
        count += write_padded(out + count, middle, 18)
    else:
        count = write_unsigned(out, middle)
    return count + write_padded(out + count, lower, 18)
