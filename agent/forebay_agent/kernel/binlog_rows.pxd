# Row images of one table, decoded into its columns' buffers.
#
# The body of WRITE, UPDATE and DELETE_ROWS (v1: 23, 24, 25; v2: 30, 31, 32; "Rows_log_event" in the servers' sources):
#
#     6 bytes table id, 2 bytes flags (1: the statement ends)
#     v2 only: 2 bytes length of extra data, these 2 included, and the extra data
#     the number of columns (length-encoded), a bitmap of the columns that images hold; UPDATE: a second one, of new images
#     the rows: an image each, for UPDATE the old and the new one
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from forebay_agent.kernel.binlog_events cimport length_encoded
from forebay_agent.kernel.binlog_layout cimport (
    BAD_LENGTH,
    BAD_WIDTH,
    BIT_VALUE,
    CUT,
    Column,
    DATE_VALUE,
    DATETIME_VALUE,
    DECIMAL_VALUE,
    DONE,
    ENUM_VALUE,
    FLOAT_VALUE,
    INTEGER_VALUE,
    MOST_COLUMNS,
    NO_MEMORY,
    OLD_DATETIME_VALUE,
    OLD_TIME_VALUE,
    OLD_TIMESTAMP_VALUE,
    SET_VALUE,
    TIMESTAMP_VALUE,
    TIME_VALUE,
    TO_HEX,
    TO_INET4,
    TO_INET6,
    TO_TEXT,
    TO_UUID,
    UNFIT,
    YEAR_VALUE,
    appended,
    little,
    measure,
)
from forebay_agent.kernel.binlog_moments cimport (
    append_date,
    append_datetime,
    append_instant,
    append_old_datetime,
    append_old_time,
    append_time,
    append_timestamp,
)
from forebay_agent.kernel.binlog_numbers cimport (
    append_big_integer,
    append_decimal,
    append_double_of_float,
    append_little_integer,
    append_year,
)
from forebay_agent.kernel.binlog_texts cimport (
    append_hexadecimal,
    append_inet4,
    append_inet6,
    append_label,
    append_labels,
    append_padded,
    append_uuid,
)
from forebay_agent.kernel.buffers cimport ColumnBuffer, append_bytes, append_null

cdef struct Span:
    # a key column's value in an image; NULL: size -1
    const uint8_t* at
    int64_t size

cdef struct Table:
    Column* columns
    int count
    int bitmap               # bytes of a bitmap of all columns
    ColumnBuffer op
    ColumnBuffer position
    ColumnBuffer committed_at
    int64_t rows
    int64_t size             # about so many bytes of Arrow
    int64_t row_size         # of each row, without what has offsets
    int64_t unfit_row
    int unfit_column
    uint64_t transaction     # the one that the rows from `open_from` on belong to, when it is still open
    int64_t open_from
    int last_key             # -1: no column is a key
    int keys
    Span* old_key
    Span* new_key
    int bad_column           # where a malformed value stands

cdef struct Place:
    # what all rows of an event have in common
    const uint8_t* position
    size_t position_size
    int64_t committed_at     # 0: not known

cdef struct RowsHeader:
    uint64_t table_id
    int flags
    uint64_t width
    bint update
    size_t bitmaps           # where they begin
    size_t rows              # where the first image begins


cdef inline int read_rows_header(int kind, const uint8_t* body, size_t size, RowsHeader* header) noexcept nogil:
    """Takes apart what stands before the rows; DONE, CUT, BAD_LENGTH or BAD_WIDTH. kind: 23 to 25 or 30 to 32."""
    cdef size_t at = 8
    cdef size_t extra
    cdef int64_t width
    if size < 8:
        return CUT
    header.table_id = little(body, 6)
    header.flags = body[6] | (body[7] << 8)
    header.update = kind == 24 or kind == 31
    if kind >= 30:
        if size < 10:
            return CUT
        extra = body[8] | (<size_t>body[9] << 8)
        if extra < 2:
            return BAD_LENGTH
        at += extra
    if at > size:
        return CUT
    width = length_encoded(body, size, &at)
    if width < 0:
        return CUT
    header.width = <uint64_t>width
    if header.width == 0 or header.width > MOST_COLUMNS:
        return BAD_WIDTH
    header.bitmaps = at
    header.rows = at + (2 if header.update else 1) * ((header.width + 7) // 8)
    return DONE if header.rows <= size else CUT


cdef inline bint all_set(const uint8_t* bits, int count) noexcept nogil:
    """Whether the first `count` bits are set."""
    cdef int i
    for i in range(count // 8):
        if bits[i] != 0xff:
            return False
    return count % 8 == 0 or bits[count // 8] & ((1 << (count % 8)) - 1) == (1 << (count % 8)) - 1


cdef inline int append_value(Column* c, const uint8_t* p, size_t size) noexcept nogil:
    """A value of `size` bytes without the length before it; of a fixed layout exactly as many as that has."""
    if c.copied:
        return appended(append_bytes(&c.buffer, p, size))
    if c.family == INTEGER_VALUE:
        return append_little_integer(c, p)
    if c.family == DECIMAL_VALUE:
        return append_decimal(c, p)
    if c.family == DATETIME_VALUE:
        return append_datetime(c, p)
    if c.family == DATE_VALUE:
        return append_date(c, p)
    if c.family == TIMESTAMP_VALUE:
        return append_timestamp(c, p)
    if c.family == ENUM_VALUE:
        return append_label(c, p) if c.target == TO_TEXT else append_little_integer(c, p)
    if c.family == SET_VALUE:
        return append_labels(c, p) if c.target == TO_TEXT else append_little_integer(c, p)
    if c.family == YEAR_VALUE:
        return append_year(c, p)
    if c.family == BIT_VALUE:
        return append_big_integer(c, p)
    if c.family == TIME_VALUE:
        return append_time(c, p)
    if c.family == FLOAT_VALUE:
        return append_double_of_float(c, p)
    if c.family == OLD_DATETIME_VALUE:
        return append_old_datetime(c, p)
    if c.family == OLD_TIMESTAMP_VALUE:
        return append_instant(c, little(p, 4), 0)
    if c.family == OLD_TIME_VALUE:
        return append_old_time(c, p)
    if c.target == TO_HEX:
        return append_hexadecimal(c, p, size)
    if c.target == TO_UUID:
        return append_uuid(c, p, size)
    if c.target == TO_INET4:
        return append_inet4(c, p, size)
    if c.target == TO_INET6:
        return append_inet6(c, p, size)
    return append_padded(c, p, size)


cdef inline int64_t measure_image(
    Table* t, const uint8_t* at, const uint8_t* end, Span* key, int last
) noexcept nogil:
    """Bytes of the image at `at` up to its column `last`, and where its key columns' values are; or a negative outcome."""
    cdef const uint8_t* here = at + t.bitmap
    cdef int64_t length
    cdef int found = 0
    cdef int i
    if end - at < t.bitmap:
        return CUT
    for i in range(last + 1):
        if at[i >> 3] >> (i & 7) & 1:
            length = -1
        else:
            length = measure(&t.columns[i], here, end)
            if length < 0:
                t.bad_column = i
                return length
        if t.columns[i].key:
            key[found].at = here
            key[found].size = length
            found += 1
        if length > 0:
            here += length
    return here - at


cdef inline bint same_key(const Table* t) noexcept nogil:
    cdef int i
    for i in range(t.keys):
        if t.old_key[i].size != t.new_key[i].size:
            return False
        if t.old_key[i].size > 0 and memcmp(t.old_key[i].at, t.new_key[i].at, t.old_key[i].size) != 0:
            return False
    return True


cdef inline int64_t append_image(
    Table* t, const uint8_t* at, const uint8_t* end, uint8_t op, const Place* place
) noexcept nogil:
    """Decodes the image at `at` as one row; -> its bytes, or a negative outcome."""
    cdef const uint8_t* here = at + t.bitmap
    cdef Column* c
    cdef int64_t length
    cdef int64_t texts = 0
    cdef size_t before
    cdef int i, status
    if end - at < t.bitmap:
        return CUT
    for i in range(t.count):
        c = &t.columns[i]
        if at[i >> 3] >> (i & 7) & 1:
            if c.captured and append_null(&c.buffer) != 0:
                return NO_MEMORY
            continue
        length = measure(c, here, end)
        if length < 0:
            t.bad_column = i
            return length
        if c.captured:
            before = c.buffer.used
            status = append_value(c, here + c.prefix, length - c.prefix)
            if status < 0:
                t.bad_column = i
                return status
            if status == UNFIT and t.unfit_row < 0:
                t.unfit_row = t.rows
                t.unfit_column = c.number
            if c.buffer.width == 0:
                texts += <int64_t>(c.buffer.used - before)
        here += length
    if append_bytes(&t.op, &op, 1) != 0 or append_bytes(&t.position, place.position, place.position_size) != 0:
        return NO_MEMORY
    if place.committed_at == 0:
        status = append_null(&t.committed_at)
    else:
        status = append_bytes(&t.committed_at, <const uint8_t*>&place.committed_at, 8)
    if status != 0:
        return NO_MEMORY
    t.rows += 1
    t.size += texts + t.row_size + <int64_t>place.position_size
    return here - at


cdef inline int64_t append_row(
    Table* t, int kind, const uint8_t* at, const uint8_t* end, const Place* place
) noexcept nogil:
    """Decodes the row at `at`, for an UPDATE its two images; -> its bytes, or a negative outcome."""
    cdef int64_t old, new
    if kind == 23 or kind == 30:
        return append_image(t, at, end, 99, place)  # c
    if kind == 25 or kind == 32:
        return append_image(t, at, end, 100, place)  # d
    old = measure_image(t, at, end, t.old_key, t.count - 1)
    if old < 0:
        return old
    if t.last_key >= 0:
        new = measure_image(t, at + old, end, t.new_key, t.last_key)
        if new < 0:
            return new
        if not same_key(t):
            new = append_image(t, at, end, 100, place)
            if new < 0:
                return new
            new = append_image(t, at + old, end, 99, place)
            return new if new < 0 else old + new
    new = append_image(t, at + old, end, 117, place)  # u
    return new if new < 0 else old + new
