# Text of binary floating point numbers to the very numbers that it denotes, without the interpreter's lock.
#
# Grammar: `-`? digits (`.` digits)? (`e` sign? digits)?, `NaN`, `Infinity`, `-Infinity`, at most 63 bytes; nothing else
# is accepted. The result is the nearest float or double, ties to even, as a correctly rounding strtod gives it,
# whatever the process's locale is.
#
# Nearly all text needs no strtod: up to 19 digits and a power of ten up to 27 are exact in an x87 long double (64 bits
# of mantissa), so one multiplication or division is rounded once to 64 bits, and rounding that again to 53 (24) bits is
# wrong only where the 64 bits lie exactly halfway between two results, which is seen and left to strtod.
from libc.stdint cimport uint8_t

cdef extern from *:
    """
    #include <float.h>
    #include <locale.h>
    #include <math.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #if LDBL_MANT_DIG == 64
    static const long double forebay_tens[28] = {
        1e0L, 1e1L, 1e2L, 1e3L, 1e4L, 1e5L, 1e6L, 1e7L, 1e8L, 1e9L, 1e10L, 1e11L, 1e12L, 1e13L, 1e14L, 1e15L, 1e16L,
        1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L
    };
    #endif

    /* by strtod; the text has been checked, and is no longer than 63 bytes */
    static int forebay_real_slow(const uint8_t *text, size_t size, double *wide, float *narrow) {
        static locale_t plain = (locale_t)0;  /* two threads at once would make two: no harm */
        char copy[64];
        if (plain == (locale_t)0 && (plain = newlocale(LC_ALL_MASK, "C", (locale_t)0)) == (locale_t)0)
            return -1;
        memcpy(copy, text, size);
        copy[size] = 0;
        if (wide) {
            *wide = strtod_l(copy, NULL, plain);
            return isfinite(*wide) ? 0 : -1;
        }
        *narrow = strtof_l(copy, NULL, plain);
        return isfinite(*narrow) ? 0 : -1;
    }

    static inline int forebay_special(const uint8_t *text, size_t size, double *value) {
        if (size == 3 && memcmp(text, "NaN", 3) == 0)
            *value = NAN;
        else if (size == 8 && memcmp(text, "Infinity", 8) == 0)
            *value = INFINITY;
        else if (size == 9 && memcmp(text, "-Infinity", 9) == 0)
            *value = -INFINITY;
        else
            return -1;
        return 0;
    }

    /* one of wide and narrow is NULL */
    static inline int forebay_real(const uint8_t *text, size_t size, double *wide, float *narrow) {
        uint64_t whole = 0;
        int significant = 0, exponent = 0, written = 0, negative = 0, any = 0, point = 0, downwards = 0;
        size_t at = 0;
        double special;
        if (size > 63)  /* strtod gets a copy on the stack; no server writes as much */
            return -1;
        if (size && text[0] == '-') {
            negative = 1;
            at = 1;
        }
        for (; at < size; at++) {
            unsigned digit = (unsigned)text[at] - '0';
            if (digit <= 9) {
                any = 1;
                if (significant || digit) {
                    if (++significant <= 19)
                        whole = whole * 10 + digit;
                }
                if (point)
                    exponent--;
            } else if (text[at] == '.' && !point && any) {
                point = 1;
            } else
                break;
        }
        if (!any || text[at - 1] == '.') {
            if (forebay_special(text, size, &special) != 0)
                return -1;
            if (wide)
                *wide = special;
            else
                *narrow = (float)special;
            return 0;
        }
        if (at < size) {
            if (text[at++] != 'e')
                return -1;
            if (at < size && (text[at] == '-' || text[at] == '+'))
                downwards = text[at++] == '-';
            if (at == size || size - at > 4)
                return -1;
            for (; at < size; at++) {
                unsigned digit = (unsigned)text[at] - '0';
                if (digit > 9)
                    return -1;
                written = written * 10 + (int)digit;
            }
            exponent += downwards ? -written : written;
        }
        if (significant == 0) {
            if (wide)
                *wide = negative ? -0.0 : 0.0;
            else
                *narrow = negative ? -0.0f : 0.0f;
            return 0;
        }
    #if LDBL_MANT_DIG == 64
        if (significant <= 19 && exponent >= -27 && exponent <= 27) {
            long double value = (long double)whole;
            uint64_t mantissa;
            value = exponent < 0 ? value / forebay_tens[-exponent] : value * forebay_tens[exponent];
            memcpy(&mantissa, &value, 8);
            if (wide) {
                if ((mantissa & 0x7ff) != 0x400) {
                    *wide = (double)(negative ? -value : value);
                    return 0;
                }
            } else if ((mantissa & 0xffffffffffULL) != 0x8000000000ULL && value < 3e38L) {
                *narrow = (float)(negative ? -value : value);
                return 0;
            }
        }
    #endif
        return forebay_real_slow(text, size, wide, narrow);
    }

    static inline int forebay_double(const uint8_t *text, size_t size, double *value) {
        return forebay_real(text, size, value, NULL);
    }

    static inline int forebay_float(const uint8_t *text, size_t size, float *value) {
        return forebay_real(text, size, NULL, value);
    }
    """
    int double_number "forebay_double"(const uint8_t* text, size_t size, double* value) noexcept nogil
    int float_number "forebay_float"(const uint8_t* text, size_t size, float* value) noexcept nogil
    # 0, or -1 when the text is none or beyond the type's range
