# What row events hold as bytes or as numbers of labels, appended to Arrow buffers.
#
# BINARY(n), UUID, INET4 and INET6 come without their last zero bytes. INET6 is written as MariaDB writes it: the first longest run
# of zero groups, even of one, is `::`; after `::` or `::ffff:` at the beginning the rest is an IPv4 address.
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset

from forebay_agent.kernel.binlog_layout cimport (
    Column,
    NO_MEMORY,
    append_unfit,
    appended,
    little,
    write_number,
)
from forebay_agent.kernel.buffers cimport append_bytes, begin_row, reserve_data


cdef inline uint8_t hexadecimal(int digit) noexcept nogil:
    return <uint8_t>(48 + digit if digit < 10 else 87 + digit)


cdef inline int append_padded(Column* c, const uint8_t* p, size_t size) noexcept nogil:
    """A BINARY(n): the zeros that were left out come back."""
    cdef size_t whole = <size_t>c.padded if <size_t>c.padded > size else size
    if begin_row(&c.buffer, True) != 0 or reserve_data(&c.buffer, whole) != 0:
        return NO_MEMORY
    if size:
        memcpy(c.buffer.data + c.buffer.used, p, size)
    if whole > size:
        memset(c.buffer.data + c.buffer.used + size, 0, whole - size)
    c.buffer.used += whole
    c.buffer.rows += 1
    return 0


cdef inline int append_hexadecimal(Column* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef size_t whole = <size_t>c.padded if <size_t>c.padded > size else size
    cdef uint8_t* text
    cdef size_t i
    if begin_row(&c.buffer, True) != 0 or reserve_data(&c.buffer, 2 * whole) != 0:
        return NO_MEMORY
    text = c.buffer.data + c.buffer.used
    for i in range(size):
        text[2 * i] = hexadecimal(p[i] >> 4)
        text[2 * i + 1] = hexadecimal(p[i] & 15)
    if whole > size:
        memset(text + 2 * size, 48, 2 * (whole - size))
    c.buffer.used += 2 * whole
    c.buffer.rows += 1
    return 0


cdef inline size_t label_start(const Column* c, uint64_t number) noexcept nogil:
    return c.label_ends[number - 1] if number else 0


cdef inline int append_label(Column* c, const uint8_t* p) noexcept nogil:
    """An ENUM: labels count from 1, 0 is what an invalid value became."""
    cdef uint64_t number = little(p, <int>c.size)
    cdef size_t start
    if number > <uint64_t>c.label_count:
        return append_unfit(c)
    if number == 0:
        return appended(append_bytes(&c.buffer, p, 0))
    start = label_start(c, number - 1)
    return appended(append_bytes(&c.buffer, c.labels + start, c.label_ends[number - 1] - start))


cdef inline int append_labels(Column* c, const uint8_t* p) noexcept nogil:
    """A SET: one bit per label."""
    cdef uint64_t bits = little(p, <int>c.size)
    cdef size_t start, length
    cdef uint8_t* text
    cdef int i
    cdef size_t total = 0
    if c.label_count < 64 and bits >> c.label_count:
        return append_unfit(c)
    for i in range(c.label_count):
        if bits >> i & 1:
            total += c.label_ends[i] - label_start(c, i) + 1
    if begin_row(&c.buffer, True) != 0 or reserve_data(&c.buffer, total) != 0:
        return NO_MEMORY
    text = c.buffer.data + c.buffer.used
    total = 0
    for i in range(c.label_count):
        if bits >> i & 1:
            if total:
                text[total] = 44
                total += 1
            start = label_start(c, i)
            length = c.label_ends[i] - start
            if length:
                memcpy(text + total, c.labels + start, length)
            total += length
    c.buffer.used += total
    c.buffer.rows += 1
    return 0


cdef inline int append_uuid(Column* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef uint8_t[16] value
    cdef uint8_t[36] text
    cdef int at = 0
    cdef int i
    memset(value, 0, 16)
    memcpy(value, p, size)
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            text[at] = 45
            at += 1
        text[at] = hexadecimal(value[i] >> 4)
        text[at + 1] = hexadecimal(value[i] & 15)
        at += 2
    return appended(append_bytes(&c.buffer, text, 36))


cdef inline int write_inet4(uint8_t* text, const uint8_t* value) noexcept nogil:
    cdef int length = 0
    cdef int i
    for i in range(4):
        if i:
            text[length] = 46
            length += 1
        length += write_number(text + length, value[i])
    return length


cdef inline int append_inet4(Column* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef uint8_t[4] value
    cdef uint8_t[16] text
    memset(value, 0, 4)
    memcpy(value, p, size)
    return appended(append_bytes(&c.buffer, text, write_inet4(text, value)))


cdef inline int write_group(uint8_t* text, uint16_t group) noexcept nogil:
    cdef int length = 0
    cdef int shift
    for shift in range(12, -4, -4):
        if length or shift == 0 or group >> shift:
            text[length] = hexadecimal((group >> shift) & 15)
            length += 1
    return length


cdef inline int append_inet6(Column* c, const uint8_t* p, size_t size) noexcept nogil:
    cdef uint8_t[16] value
    cdef uint16_t[8] groups
    cdef uint8_t[64] text
    cdef int length = 0
    cdef int gap = -1
    cdef int gap_length = 0
    cdef int run = 0
    cdef int i
    memset(value, 0, 16)
    memcpy(value, p, size)
    for i in range(8):
        groups[i] = <uint16_t>((value[2 * i] << 8) | value[2 * i + 1])
        run = run + 1 if groups[i] == 0 else 0
        if run > gap_length:
            gap_length = run
            gap = i + 1 - run
    i = 0
    while i < 8:
        if i == gap:
            if i == 0:
                text[length] = 58
                length += 1
            text[length] = 58
            length += 1
            i += gap_length
            continue
        if i == 6 and gap == 0 and (gap_length == 6 or (gap_length == 5 and groups[5] == 0xffff)):
            length += write_inet4(text + length, value + 12)
            break
        length += write_group(text + length, groups[i])
        if i != 7:
            text[length] = 58
            length += 1
        i += 1
    return appended(append_bytes(&c.buffer, text, length))
