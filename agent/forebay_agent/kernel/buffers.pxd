# Growing Arrow buffers of one column: validity bits, 32-bit offsets, data. Shared by the kernels of this folder.
#
# All functions are nogil and return 0, or -1 when memory is exhausted or a column of one batch would pass 2 GiB; a kernel
# turns -1 into MemoryError. `rows` is the number of values that the column holds; a fixed-width column keeps `width` > 0
# and no offsets.
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

cdef struct ColumnBuffer:
    uint8_t* data
    size_t used
    size_t data_capacity
    int32_t* offsets
    uint8_t* valid
    size_t row_capacity
    int64_t rows
    int64_t nulls
    int width

cdef inline int reserve_row(ColumnBuffer* c) noexcept nogil:
    """Room for one more row's bit and offset."""
    cdef size_t capacity
    cdef void* grown
    if <size_t>c.rows + 2 <= c.row_capacity:
        return 0
    capacity = (<size_t>c.rows + 2) * 2 + 8192
    grown = realloc(c.valid, capacity // 8 + 8)
    if grown == NULL:
        return -1
    c.valid = <uint8_t*>grown
    if c.width == 0:
        grown = realloc(c.offsets, 4 * capacity)
        if grown == NULL:
            return -1
        c.offsets = <int32_t*>grown
    c.row_capacity = capacity
    return 0

cdef inline int reserve_data(ColumnBuffer* c, size_t more) noexcept nogil:
    """Room for `more` bytes of data."""
    cdef size_t capacity
    cdef void* grown
    if c.used + more <= c.data_capacity:
        return 0
    if c.used + more > 0x7fffffff:
        return -1
    capacity = (c.used + more) * 3 // 2 + 65536
    grown = realloc(c.data, capacity)
    if grown == NULL:
        return -1
    c.data = <uint8_t*>grown
    c.data_capacity = capacity
    return 0

cdef inline int begin_row(ColumnBuffer* c, bint is_valid) noexcept nogil:
    """Writes the bit and the offset of the next row; the caller appends its bytes and adds 1 to `rows`."""
    if reserve_row(c) != 0:
        return -1
    if (c.rows & 7) == 0:
        c.valid[c.rows >> 3] = 0
    if is_valid:
        c.valid[c.rows >> 3] |= <uint8_t>(1 << (c.rows & 7))
    else:
        c.nulls += 1
    if c.width == 0:
        c.offsets[c.rows] = <int32_t>c.used
    return 0

cdef inline int append_null(ColumnBuffer* c) noexcept nogil:
    if begin_row(c, False) != 0:
        return -1
    if c.width:
        if reserve_data(c, c.width) != 0:
            return -1
        memset(c.data + c.used, 0, c.width)
        c.used += c.width
    c.rows += 1
    return 0

cdef inline int append_bytes(ColumnBuffer* c, const uint8_t* source, size_t size) noexcept nogil:
    """One value; of a fixed-width column `size` is its width."""
    if begin_row(c, True) != 0 or reserve_data(c, size) != 0:
        return -1
    if size:
        memcpy(c.data + c.used, source, size)
    c.used += size
    c.rows += 1
    return 0

cdef inline void release(ColumnBuffer* c) noexcept nogil:
    free(c.data)
    free(c.offsets)
    free(c.valid)
    memset(c, 0, sizeof(ColumnBuffer))
