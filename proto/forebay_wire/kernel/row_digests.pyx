# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Row digests and their sums straight from Arrow buffers, without a Python object per row or value.

The definition stands in `forebay_wire.canonical`, whose plain functions are this kernel's reference. Columns are Arrow
arrays of one length; slices are read through their offset. Booleans, integers, float and double, decimal128, date32,
timestamps in microseconds, text and binary (32 and 64 bit offsets) are read where they stand; `prepare` of the caller turns
every other type into binary first. The work is done without the interpreter's lock, so that the next rows are read meanwhile.
"""

from libc.stdint cimport (
    int8_t,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
    uintptr_t,
)
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from forebay_wire.kernel.blake2b cimport fb_blake2b_128
from forebay_wire.kernel.canonical_text cimport (
    MOST_DIGITS,
    write_decimal,
    write_double,
    write_signed,
    write_unsigned,
)

import pyarrow as pa

cdef extern from *:
    """
    #define fb_swap64(x) __builtin_bswap64(x)
    """
    uint64_t fb_swap64(uint64_t value) noexcept nogil

cdef enum Kind:
    BOOLEAN
    SIGNED_8
    SIGNED_16
    SIGNED_32
    SIGNED_64
    UNSIGNED_8
    UNSIGNED_16
    UNSIGNED_32
    UNSIGNED_64
    FLOAT
    DOUBLE
    DECIMAL
    BYTES
    LARGE_BYTES

_KINDS = {
    pa.bool_(): BOOLEAN,
    pa.int8(): SIGNED_8,
    pa.int16(): SIGNED_16,
    pa.int32(): SIGNED_32,
    pa.date32(): SIGNED_32,
    pa.int64(): SIGNED_64,
    pa.uint8(): UNSIGNED_8,
    pa.uint16(): UNSIGNED_16,
    pa.uint32(): UNSIGNED_32,
    pa.uint64(): UNSIGNED_64,
    pa.float32(): FLOAT,
    pa.float64(): DOUBLE,
    pa.string(): BYTES,
    pa.binary(): BYTES,
    pa.large_string(): LARGE_BYTES,
    pa.large_binary(): LARGE_BYTES,
}


def reads(kind: pa.DataType) -> bool:
    """Whether columns of this type are read where they stand."""
    return _kind_of(kind) is not None


def _kind_of(kind):
    if pa.types.is_decimal128(kind):
        return DECIMAL
    if pa.types.is_timestamp(kind):
        return SIGNED_64 if kind.unit == "us" else None
    return _KINDS.get(kind)


cdef struct ColumnView:
    int kind
    int scale
    int64_t offset
    const uint8_t* valid  # NULL: no value is NULL
    const uint8_t* data
    const void* ends


cdef struct Scratch:
    uint8_t* data
    size_t capacity


cdef class Columns:
    """Views of Arrow columns; holds on to their buffers."""

    cdef ColumnView* views
    cdef int count
    cdef readonly int64_t rows
    cdef list held

    def __cinit__(self, columns):
        self.count = len(columns)
        self.views = <ColumnView*>calloc(max(self.count, 1), sizeof(ColumnView))
        if self.views == NULL:
            raise MemoryError
        self.held = []
        self.rows = len(columns[0]) if self.count else 0
        for place, column in enumerate(columns):
            if len(column) != self.rows:
                raise ValueError("columns of different lengths")
            self._view(&self.views[place], column)

    cdef int _view(self, ColumnView* view, column) except -1:
        kind = _kind_of(column.type)
        if kind is None:
            raise TypeError(f"columns of type {column.type} are not read where they stand")
        buffers = column.buffers()
        self.held.append(buffers)
        view.kind = kind
        view.scale = column.type.scale if kind == DECIMAL else 0
        view.offset = column.offset
        view.valid = <const uint8_t*>address(buffers[0]) if column.null_count else NULL
        if kind == BYTES or kind == LARGE_BYTES:
            view.ends = <const void*>address(buffers[1])
            view.data = <const uint8_t*>address(buffers[2])
        else:
            view.data = <const uint8_t*>address(buffers[1])
        return 0

    def __dealloc__(self):
        free(self.views)


cdef uintptr_t address(buffer) except? 0:
    return 0 if buffer is None else <uintptr_t>buffer.address


cdef inline int grow(Scratch* scratch, size_t wanted) noexcept nogil:
    cdef void* grown
    if wanted <= scratch.capacity:
        return 0
    wanted = wanted * 3 // 2 + 4096
    grown = realloc(scratch.data, wanted)
    if grown == NULL:
        return -1
    scratch.data = <uint8_t*>grown
    scratch.capacity = wanted
    return 0


cdef inline int number_text(const ColumnView* view, int64_t at, uint8_t* out) noexcept nogil:
    if view.kind == SIGNED_64:
        return write_signed(out, (<const int64_t*>view.data)[at])
    if view.kind == SIGNED_32:
        return write_signed(out, (<const int32_t*>view.data)[at])
    if view.kind == DECIMAL:
        return write_decimal(out, view.data + 16 * at, view.scale)
    if view.kind == DOUBLE:
        return write_double(out, (<const double*>view.data)[at])
    if view.kind == BOOLEAN:
        return write_unsigned(out, (view.data[at >> 3] >> (at & 7)) & 1)
    if view.kind == SIGNED_16:
        return write_signed(out, (<const int16_t*>view.data)[at])
    if view.kind == SIGNED_8:
        return write_signed(out, (<const int8_t*>view.data)[at])
    if view.kind == UNSIGNED_64:
        return write_unsigned(out, (<const uint64_t*>view.data)[at])
    if view.kind == UNSIGNED_32:
        return write_unsigned(out, (<const uint32_t*>view.data)[at])
    if view.kind == UNSIGNED_16:
        return write_unsigned(out, (<const uint16_t*>view.data)[at])
    if view.kind == UNSIGNED_8:
        return write_unsigned(out, view.data[at])
    return write_double(out, <double>(<const float*>view.data)[at])


cdef inline int64_t row_text(const ColumnView* views, int count, int64_t row, Scratch* scratch) noexcept nogil:
    """The row's canonical bytes in the scratch; -> how many, -1 when memory is exhausted."""
    cdef size_t used = 0, size
    cdef const ColumnView* view
    cdef const uint8_t* source
    cdef uint8_t text[MOST_DIGITS]
    cdef int64_t at, start
    cdef int place, digits
    for place in range(count):
        view = &views[place]
        at = row + view.offset
        if grow(scratch, used + MOST_DIGITS + 32) != 0:
            return -1
        if view.valid != NULL and not (view.valid[at >> 3] >> (at & 7)) & 1:
            scratch.data[used] = 45
            used += 1
            continue
        if view.kind == BYTES:
            start = (<const int32_t*>view.ends)[at]
            size = <size_t>((<const int32_t*>view.ends)[at + 1] - start)
        elif view.kind == LARGE_BYTES:
            start = (<const int64_t*>view.ends)[at]
            size = <size_t>((<const int64_t*>view.ends)[at + 1] - start)
        else:
            digits = number_text(view, at, text)
            used += write_unsigned(scratch.data + used, digits)
            scratch.data[used] = 58
            memcpy(scratch.data + used + 1, text, digits)
            used += 1 + digits
            continue
        source = view.data + start
        used += write_unsigned(scratch.data + used, size)
        scratch.data[used] = 58
        used += 1
        if grow(scratch, used + size + MOST_DIGITS) != 0:
            return -1
        if size:
            memcpy(scratch.data + used, source, size)
            used += size
    return <int64_t>used


cdef inline int row_digest(const ColumnView* views, int count, int64_t row, Scratch* scratch, uint64_t* out) noexcept nogil:
    cdef int64_t size = row_text(views, count, row, scratch)
    if size < 0:
        return -1
    fb_blake2b_128(scratch.data, <size_t>size, out)
    return 0


cdef inline uint32_t cell_of(uint64_t first_word, uint32_t cells) noexcept nogil:
    """The digest's first four bytes, as a big-endian number, modulo the number of cells (a power of two)."""
    return <uint32_t>(fb_swap64(first_word) >> 32) & (cells - 1)


def digests(Columns columns not None):
    """The row digests: fixed-size binary of 16 bytes. Raises MemoryError."""
    cdef int64_t rows = columns.rows, row
    cdef Scratch scratch = Scratch(NULL, 0)
    cdef bint failed = False
    made = pa.allocate_buffer(16 * rows)
    cdef uint64_t* out = <uint64_t*><uintptr_t>made.address
    with nogil:
        for row in range(rows):
            if row_digest(columns.views, columns.count, row, &scratch, out + 2 * row) != 0:
                failed = True
                break
        free(scratch.data)
    if failed:
        raise MemoryError
    return pa.Array.from_buffers(pa.binary(16), rows, [None, made])


def column_digests(Columns columns not None):
    """Of each column the digest of each value, as if it were a row of its own. -> one array of 16 bytes per column."""
    cdef int64_t rows = columns.rows, row
    cdef Scratch scratch = Scratch(NULL, 0)
    cdef bint failed = False
    cdef int place
    cdef uint64_t* out
    arrays = []
    try:
        for place in range(columns.count):
            made = pa.allocate_buffer(16 * rows)
            out = <uint64_t*><uintptr_t>made.address
            with nogil:
                for row in range(rows):
                    if row_digest(&columns.views[place], 1, row, &scratch, out + 2 * row) != 0:
                        failed = True
                        break
            if failed:
                raise MemoryError
            arrays.append(pa.Array.from_buffers(pa.binary(16), rows, [None, made]))
    finally:
        free(scratch.data)
    return arrays


def in_cells(Columns key not None, const uint8_t[::1] wanted):
    """Which rows' keys fall into wanted cells (`wanted`: one byte per cell, not 0: wanted): their places, int64."""
    cdef int64_t rows = key.rows, row, count = 0
    cdef uint32_t cells = <uint32_t>wanted.shape[0]
    cdef Scratch scratch = Scratch(NULL, 0)
    cdef uint64_t digest[2]
    cdef bint failed = False
    _check(wanted.shape[0])
    made = pa.allocate_buffer(8 * rows, resizable=True)
    cdef int64_t* out = <int64_t*><uintptr_t>made.address
    with nogil:
        for row in range(rows):
            if row_digest(key.views, key.count, row, &scratch, digest) != 0:
                failed = True
                break
            if wanted[cell_of(digest[0], cells)]:
                out[count] = row
                count += 1
        free(scratch.data)
    if failed:
        raise MemoryError
    made.resize(8 * count)
    return pa.Array.from_buffers(pa.int64(), count, [None, made])


def _check(cells):
    if cells < 1 or cells & (cells - 1):
        raise ValueError(f"{cells} cells: must be a power of two")


cdef class CellSums:
    """Row counts and digest sums modulo 2^128 of each cell."""

    cdef readonly uint32_t cells
    cdef uint64_t* rows
    cdef uint64_t* high
    cdef uint64_t* low

    def __cinit__(self, cells):
        _check(cells)
        self.cells = cells
        self.rows = <uint64_t*>calloc(3 * <size_t>self.cells, sizeof(uint64_t))
        if self.rows == NULL:
            raise MemoryError
        self.high = self.rows + self.cells
        self.low = self.high + self.cells

    def __dealloc__(self):
        free(self.rows)

    def add(self, Columns key not None, Columns columns not None):
        """Adds the rows. Raises ValueError when keys and rows are not as many, MemoryError."""
        cdef int64_t row, rows = columns.rows
        cdef Scratch scratch = Scratch(NULL, 0)
        cdef uint64_t keyed[2]
        cdef uint64_t digest[2]
        cdef uint64_t low
        cdef uint32_t cell
        cdef bint failed = False
        if key.rows != rows:
            raise ValueError("as many keys as rows are needed")
        with nogil:
            for row in range(rows):
                if row_digest(key.views, key.count, row, &scratch, keyed) != 0:
                    failed = True
                    break
                if row_digest(columns.views, columns.count, row, &scratch, digest) != 0:
                    failed = True
                    break
                cell = cell_of(keyed[0], self.cells)
                self.rows[cell] += 1
                low = self.low[cell] + fb_swap64(digest[1])
                self.high[cell] += fb_swap64(digest[0]) + (1 if low < self.low[cell] else 0)
                self.low[cell] = low
            free(scratch.data)
        if failed:
            raise MemoryError

    def told(self):
        """-> (rows, sums), one of each per cell."""
        cdef uint32_t cell
        rows = [self.rows[cell] for cell in range(self.cells)]
        return rows, [(<object>self.high[cell] << 64) | self.low[cell] for cell in range(self.cells)]
