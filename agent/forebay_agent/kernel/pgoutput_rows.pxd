# Tuples of pgoutput's row messages, and the rows that a followed table gets from them.
#
# TupleData (PostgreSQL manual, "Logical Replication Message Formats"; numbers big-endian): 16-bit number of columns;
# per column `n` (NULL), `u` (TOASTed and unchanged: not sent), or `t`, 32-bit length and that many bytes of text.
#
# A message is split into fields, and checked to its end, before any of it is appended: a malformed one leaves no trace.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcmp

from forebay_agent.kernel.buffers cimport ColumnBuffer, append_bytes, append_null
from forebay_agent.kernel.pgoutput_values cimport GOOD, NO_MEMORY, UNFIT_VALUE, Column, append_value
from forebay_agent.kernel.postgresql_binary cimport read16, read32

cdef enum:
    # statuses beside NO_MEMORY
    CUT_SHORT = -2
    TOO_LONG = -3
    BAD_WIDTH = -4
    BAD_FIELD = -5
    BAD_TUPLE = -6
    NO_KEY = -7

cdef enum:
    NULL_FIELD = 110  # 'n'
    UNCHANGED = 117  # 'u'
    TEXT = 116  # 't'
    BINARY_FIELD = 98  # 'b'

    NEW_TUPLE = 78  # 'N'
    OLD_KEY = 75  # 'K'
    OLD_ROW = 79  # 'O'

    INSERTED = 99  # 'c'
    UPDATED = 117  # 'u'
    DELETED = 100  # 'd'

cdef struct Field:
    const uint8_t* text
    uint32_t size
    uint8_t kind

cdef struct Mark:
    # a value that was not sent
    int64_t row
    int32_t column

cdef struct Commit:
    # what each row of a transaction carries; position: final_lsn as text
    uint32_t xid
    uint64_t final_lsn
    uint64_t end_lsn
    int64_t committed_at
    uint8_t[20] position
    int position_size

cdef struct Table:
    Column* columns
    int count
    int width  # of the relation
    int* keys  # places in the relation
    int key_count
    Field* fresh  # the tuples of the message being read: one field per column of the relation
    Field* old
    ColumnBuffer ops
    ColumnBuffer positions
    ColumnBuffer times
    Mark* marks
    size_t mark_count
    size_t mark_capacity
    int64_t rows
    size_t bytes
    size_t row_bytes  # of a row without what its strings hold
    int64_t unfit_row  # -1: none
    int unfit_column
    bint broken  # memory ended within a row

cdef struct Reader:
    # bytes of a message that are still to be read
    const uint8_t* at
    const uint8_t* end

cdef inline size_t left(const Reader* r) noexcept nogil:
    return <size_t>(r.end - r.at)

cdef inline int read_tuple(Reader* r, Field* fields, int width) noexcept nogil:
    """Splits a TupleData of `width` columns."""
    cdef const uint8_t* at = r.at
    cdef const uint8_t* end = r.end
    cdef int number
    cdef uint8_t kind
    cdef uint32_t size
    if end - at < 2:
        return CUT_SHORT
    if read16(at) != width:
        return BAD_WIDTH
    at += 2
    for number in range(width):
        if at == end:
            return CUT_SHORT
        kind = at[0]
        at += 1
        fields[number].kind = kind
        if kind == TEXT:
            if end - at < 4:
                return CUT_SHORT
            size = read32(at)
            at += 4
            if <size_t>(end - at) < size:
                return CUT_SHORT
            fields[number].text = at
            fields[number].size = size
            at += size
        elif kind != NULL_FIELD and kind != UNCHANGED:
            return BAD_FIELD
    r.at = at
    return GOOD

cdef inline bint differ(const Field* old, const Field* fresh) noexcept nogil:
    """Whether a key's value changed."""
    return old.kind != fresh.kind or (
        old.kind == TEXT and (old.size != fresh.size or memcmp(old.text, fresh.text, old.size) != 0)
    )

cdef inline int check_key(const Table* t, const Field* fields, uint8_t tuple_kind) noexcept nogil:
    """Whether every column of the key came. An old key holds the replica identity, whose columns are never NULL."""
    cdef int number
    cdef uint8_t kind
    for number in range(t.key_count):
        kind = fields[t.keys[number]].kind
        if kind == UNCHANGED or (kind == NULL_FIELD and tuple_kind == OLD_KEY):
            return NO_KEY
    return GOOD

cdef inline int mark_absent(Table* t, int column) noexcept nogil:
    cdef void* grown
    if t.mark_count == t.mark_capacity:
        grown = realloc(t.marks, (t.mark_capacity * 2 + 64) * sizeof(Mark))
        if grown == NULL:
            return NO_MEMORY
        t.marks = <Mark*>grown
        t.mark_capacity = t.mark_capacity * 2 + 64
    t.marks[t.mark_count].row = t.rows
    t.marks[t.mark_count].column = column
    t.mark_count += 1
    return GOOD

cdef inline int append_row(
    Table* t, const Commit* commit, uint8_t op, const Field* fields, const Field* instead, bint marks
) noexcept nogil:
    """One row; what is UNCHANGED in `fields` is taken from `instead` (NULL: nothing), else it is NULL and, where
    `marks` says so, marked as absent. On NO_MEMORY the table is broken."""
    cdef const Field* field
    cdef Column* column
    cdef size_t bytes = t.row_bytes
    cdef int number
    cdef int status
    t.broken = True
    for number in range(t.count):
        column = &t.columns[number]
        field = &fields[column.place]
        if field.kind == UNCHANGED:
            if instead != NULL and instead[column.place].kind == TEXT:
                field = &instead[column.place]
            elif marks and mark_absent(t, number) != 0:
                return NO_MEMORY
        if field.kind != TEXT:
            if append_null(&column.buffer) != 0:
                return NO_MEMORY
            continue
        status = append_value(column, field.text, field.size)
        if status < 0:
            return NO_MEMORY
        if status == UNFIT_VALUE and t.unfit_row < 0:
            t.unfit_row = t.rows
            t.unfit_column = number
        if column.buffer.width == 0:
            bytes += field.size
    if (
        append_bytes(&t.ops, &op, 1) != 0
        or append_bytes(&t.positions, commit.position, commit.position_size) != 0
        or append_bytes(&t.times, <const uint8_t*>&commit.committed_at, 8) != 0
    ):
        return NO_MEMORY
    t.rows += 1
    t.bytes += bytes
    t.broken = False
    return GOOD

cdef inline int read_insert(Table* t, const Commit* commit, Reader* r) noexcept nogil:
    """What follows the relation's number in an Insert message."""
    cdef int status
    if r.at == r.end:
        return CUT_SHORT
    if r.at[0] != NEW_TUPLE:
        return BAD_TUPLE
    r.at += 1
    status = read_tuple(r, t.fresh, t.width)
    if status == GOOD and r.at != r.end:
        status = TOO_LONG
    if status == GOOD:
        status = check_key(t, t.fresh, NEW_TUPLE)
    if status != GOOD:
        return status
    return append_row(t, commit, INSERTED, t.fresh, NULL, True)

cdef inline int read_delete(Table* t, const Commit* commit, Reader* r) noexcept nogil:
    cdef int status
    cdef uint8_t kind
    if r.at == r.end:
        return CUT_SHORT
    kind = r.at[0]
    if kind != OLD_KEY and kind != OLD_ROW:
        return BAD_TUPLE
    r.at += 1
    status = read_tuple(r, t.old, t.width)
    if status == GOOD and r.at != r.end:
        status = TOO_LONG
    if status == GOOD:
        status = check_key(t, t.old, kind)
    if status != GOOD:
        return status
    return append_row(t, commit, DELETED, t.old, NULL, False)

cdef inline int read_update(Table* t, const Commit* commit, Reader* r) noexcept nogil:
    cdef int status, number, place
    cdef uint8_t kind
    cdef Field* old = NULL
    cdef bint moved = False
    if r.at == r.end:
        return CUT_SHORT
    kind = r.at[0]
    if kind == OLD_KEY or kind == OLD_ROW:
        r.at += 1
        old = t.old
        status = read_tuple(r, old, t.width)
        if status == GOOD:
            status = check_key(t, old, kind)
        if status != GOOD:
            return status
        if r.at == r.end:
            return CUT_SHORT
    if r.at[0] != NEW_TUPLE:
        return BAD_TUPLE
    r.at += 1
    status = read_tuple(r, t.fresh, t.width)
    if status == GOOD and r.at != r.end:
        status = TOO_LONG
    if status != GOOD:
        return status
    for number in range(t.key_count):
        place = t.keys[number]
        if t.fresh[place].kind == UNCHANGED:
            if old == NULL or old[place].kind != TEXT:
                return NO_KEY
        elif old != NULL and differ(&old[place], &t.fresh[place]):
            moved = True
    if moved:
        status = append_row(t, commit, DELETED, old, NULL, False)
        if status != GOOD:
            return status
    return append_row(t, commit, INSERTED if moved else UPDATED, t.fresh, old, True)
