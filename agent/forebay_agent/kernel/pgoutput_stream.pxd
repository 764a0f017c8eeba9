# One replication connection's stream of messages: which transaction is open, which relation is whose, and what each
# message asks for. Everything here is nogil; the Python face of it is pgoutput.pyx.
#
# Streaming Replication Protocol (PostgreSQL manual): each CopyData message is `w` (XLogData: 64-bit WAL start, 64-bit
# end of WAL, 64-bit clock, then one pgoutput message) or `k` (keepalive: 64-bit end of WAL, 64-bit clock, 8-bit whether
# a reply is asked for). Times are microseconds since 2000-01-01.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcmp, memcpy

from forebay_agent.kernel.pgoutput_rows cimport (
    CUT_SHORT,
    TOO_LONG,
    Commit,
    Reader,
    Table,
    left,
    read_delete,
    read_insert,
    read_update,
)
from forebay_agent.kernel.pgoutput_values cimport GOOD, NO_MEMORY
from forebay_agent.kernel.postgresql_binary cimport (
    FIRST_MICROSECOND,
    LAST_MICROSECOND,
    MICROSECONDS_TO_2000,
    read32,
    read64,
)

cdef enum:
    # statuses beside those of pgoutput_rows
    NO_TRANSACTION = -8
    IN_TRANSACTION = -9
    OTHER_COMMIT = -10
    UNKNOWN_RELATION = -11
    NO_SEGMENT = -12
    NOT_IN_SEGMENT = -13
    BAD_TIME = -14
    BAD_WRAPPER = -15

cdef enum:
    # why to stop; GOOD (0): go on
    FULL_STOP = 1
    UNFIT_STOP = 2
    MESSAGE_STOP = 3
    SEGMENT_STOP = 4
    REPLY_STOP = 5

cdef enum:
    XLOG_DATA = 119  # 'w'
    KEEPALIVE = 107  # 'k'
    XLOG_HEADER = 25
    KEEPALIVE_SIZE = 18
    FRAME_HEADER = 12

    BEGIN = 66  # 'B'
    COMMIT = 67  # 'C'
    ORIGIN = 79  # 'O'
    RELATION = 82  # 'R'
    TYPE = 89  # 'Y'
    INSERT = 73  # 'I'
    UPDATE = 85  # 'U'
    DELETE = 68  # 'D'
    STREAM_START = 83  # 'S'
    STREAM_STOP = 69  # 'E'
    STREAM_COMMIT = 99  # 'c'

cdef struct Slot:
    # a registered relation; message: its Relation message without xid; table NULL: its changes are skipped
    uint32_t relation
    bint used
    const uint8_t* message
    size_t size
    Table* table

cdef struct Stream:
    Slot* slots
    size_t slot_count  # a power of two, more than there are relations
    Commit commit
    bint open
    bint replaying
    bint each_relation  # a Relation message is a reason to stop even when it says what was registered
    uint32_t* xids  # of the transactions finished and not taken yet
    size_t xid_count
    size_t xid_capacity
    uint64_t commit_end
    uint64_t keepalive_end
    uint64_t lsn
    int64_t transactions
    int64_t changes
    int64_t most_rows
    size_t most_bytes
    size_t bytes  # held by all tables when it was last counted, and what came since
    bint enough  # a limit is reached: stop at the next transaction's end
    uint32_t* aborted  # xids left out of a replay
    size_t aborted_count
    bint in_segment
    bint segment_due
    uint32_t segment_xid
    uint8_t* segment
    size_t segment_size
    size_t segment_capacity
    size_t segment_most
    uint8_t bad_type  # of the message that was malformed

cdef inline Slot* slot_of(const Stream* s, uint32_t relation) noexcept nogil:
    """The relation's slot, or the free one where it would stand; NULL when there are no slots."""
    cdef size_t at
    if s.slot_count == 0:
        return NULL
    at = (relation * <uint32_t>2654435761) & (s.slot_count - 1)
    while s.slots[at].used and s.slots[at].relation != relation:
        at = (at + 1) & (s.slot_count - 1)
    return &s.slots[at]

cdef inline int count_again(Stream* s) noexcept nogil:
    """What is held now, and whether that is a reason to stop before anything more is read."""
    cdef size_t at
    cdef Table* table
    cdef int reason = GOOD
    s.bytes = 0
    s.enough = False
    for at in range(s.slot_count):
        table = s.slots[at].table
        if table == NULL:
            continue
        s.bytes += table.bytes
        if table.rows >= s.most_rows:
            s.enough = True
        if table.rows >= s.most_rows + s.most_rows // 4:
            reason = FULL_STOP
        if table.unfit_row >= 0:
            return UNFIT_STOP
    if s.bytes >= s.most_bytes:
        s.enough = True
        if s.bytes >= s.most_bytes + s.most_bytes // 4:
            return FULL_STOP
    return FULL_STOP if s.enough and not s.open else reason

cdef inline int after_change(Stream* s, const Table* table, size_t before) noexcept nogil:
    """Whether to stop after a row was appended; before: the table's bytes before that."""
    s.bytes += table.bytes - before
    if table.unfit_row >= 0:
        return UNFIT_STOP
    if table.rows < s.most_rows and s.bytes < s.most_bytes:
        return GOOD
    s.enough = True
    if table.rows >= s.most_rows + s.most_rows // 4 or s.bytes >= s.most_bytes + s.most_bytes // 4:
        return FULL_STOP
    return GOOD

cdef inline void write_position(Commit* commit) noexcept nogil:
    """final_lsn as `0/16B3748`."""
    cdef uint32_t[2] halves
    cdef int half, digit, nibble
    cdef int size = 0
    cdef bint leading
    halves[0] = <uint32_t>(commit.final_lsn >> 32)
    halves[1] = <uint32_t>commit.final_lsn
    for half in range(2):
        leading = True
        for digit in range(8):
            nibble = (halves[half] >> (28 - 4 * digit)) & 15
            if leading and nibble == 0 and digit < 7:
                continue
            leading = False
            commit.position[size] = <uint8_t>(nibble + (48 if nibble < 10 else 55))
            size += 1
        if half == 0:
            commit.position[size] = 47
            size += 1
    commit.position_size = size

cdef inline int begin(Stream* s, uint32_t xid, uint64_t final_lsn, uint64_t end_lsn, int64_t time) noexcept nogil:
    if s.open or s.in_segment:
        return IN_TRANSACTION
    if time < FIRST_MICROSECOND or time > LAST_MICROSECOND:
        return BAD_TIME
    s.commit.xid = xid
    s.commit.final_lsn = final_lsn
    s.commit.end_lsn = end_lsn
    s.commit.committed_at = time + MICROSECONDS_TO_2000
    write_position(&s.commit)
    s.open = True
    return GOOD

cdef inline int keep_xid(Stream* s) noexcept nogil:
    cdef void* grown
    if s.xid_count == s.xid_capacity:
        grown = realloc(s.xids, 4 * (s.xid_capacity * 2 + 256))
        if grown == NULL:
            return NO_MEMORY
        s.xids = <uint32_t*>grown
        s.xid_capacity = s.xid_capacity * 2 + 256
    s.xids[s.xid_count] = s.commit.xid
    s.xid_count += 1
    return GOOD

cdef inline int finish(Stream* s, uint64_t end_lsn) noexcept nogil:
    if keep_xid(s) != GOOD:
        return NO_MEMORY
    s.open = False
    s.commit_end = end_lsn
    s.transactions += 1
    return FULL_STOP if s.enough else GOOD

cdef inline int read_begin(Stream* s, Reader* r) noexcept nogil:
    if left(r) != 20:
        return CUT_SHORT if left(r) < 20 else TOO_LONG
    return begin(s, read32(r.at + 16), read64(r.at), 0, <int64_t>read64(r.at + 8))

cdef inline int read_commit(Stream* s, Reader* r) noexcept nogil:
    if left(r) != 25:
        return CUT_SHORT if left(r) < 25 else TOO_LONG
    if not s.open or s.replaying:
        return NO_TRANSACTION
    if read64(r.at + 1) != s.commit.final_lsn:
        return OTHER_COMMIT
    return finish(s, read64(r.at + 9))

cdef inline int read_change(Stream* s, uint8_t kind, Reader* r) noexcept nogil:
    """What follows the type (and xid) of an Insert, Update or Delete message."""
    cdef Slot* slot
    cdef Table* table
    cdef size_t before
    cdef int status
    if not s.open:
        return NO_TRANSACTION
    if left(r) < 4:
        return CUT_SHORT
    slot = slot_of(s, read32(r.at))
    if slot == NULL or not slot.used:
        return UNKNOWN_RELATION
    r.at += 4
    s.changes += 1
    table = slot.table
    if table == NULL:
        return GOOD
    before = table.bytes
    if kind == INSERT:
        status = read_insert(table, &s.commit, r)
    elif kind == UPDATE:
        status = read_update(table, &s.commit, r)
    else:
        status = read_delete(table, &s.commit, r)
    return status if status != GOOD else after_change(s, table, before)

cdef inline int read_relation(const Stream* s, const Reader* r) noexcept nogil:
    """What follows the type (and xid) of a Relation message: GOOD when it says what was registered."""
    cdef Slot* slot
    if left(r) < 4:
        return CUT_SHORT
    if s.each_relation:
        return MESSAGE_STOP
    slot = slot_of(s, read32(r.at))
    if slot == NULL or not slot.used or slot.size != left(r) + 1 or memcmp(slot.message + 1, r.at, left(r)) != 0:
        return MESSAGE_STOP
    return GOOD

cdef inline int keep_in_segment(Stream* s, const uint8_t* data, size_t size) noexcept nogil:
    """Puts a message of a stream segment aside."""
    cdef size_t needed = s.segment_size + FRAME_HEADER + size
    cdef size_t capacity
    cdef void* grown
    if needed > s.segment_capacity:
        capacity = needed * 3 // 2 + 65536
        grown = realloc(s.segment, capacity)
        if grown == NULL:
            return NO_MEMORY
        s.segment = <uint8_t*>grown
        s.segment_capacity = capacity
    cdef uint32_t length = <uint32_t>size
    memcpy(s.segment + s.segment_size, &length, 4)  # little-endian, as the machine
    memcpy(s.segment + s.segment_size + 4, &s.lsn, 8)
    memcpy(s.segment + s.segment_size + FRAME_HEADER, data, size)
    s.segment_size = needed
    if needed >= s.segment_most:
        s.segment_due = True
        return SEGMENT_STOP
    return GOOD

cdef inline int read_segment(Stream* s, const uint8_t* data, size_t size) noexcept nogil:
    """A message between Stream Start and Stream Stop, or one of these."""
    cdef uint8_t kind = data[0]
    if kind == STREAM_START:
        if size != 6:
            return CUT_SHORT if size < 6 else TOO_LONG
        if s.open or s.in_segment or s.segment_size:
            return IN_TRANSACTION
        s.in_segment = True
        s.segment_xid = read32(data + 1)
        return GOOD
    if not s.in_segment:
        return NO_SEGMENT
    if kind == STREAM_STOP:
        if size != 1:
            return TOO_LONG
        s.in_segment = False
        if s.segment_size == 0:
            return GOOD
        s.segment_due = True
        return SEGMENT_STOP
    if kind == BEGIN or kind == COMMIT or kind == STREAM_COMMIT:
        return NOT_IN_SEGMENT
    return keep_in_segment(s, data, size)

cdef inline int read_message(Stream* s, const uint8_t* data, size_t size, bint streamed) noexcept nogil:
    """One pgoutput message; streamed: with the xid of a streamed transaction. -> GOOD, why to stop, or what is
    wrong."""
    cdef Reader r
    cdef uint8_t kind
    if size == 0:
        s.bad_type = 0
        return CUT_SHORT
    kind = data[0]
    s.bad_type = kind
    if not streamed and (s.in_segment or kind == STREAM_START or kind == STREAM_STOP):
        return read_segment(s, data, size)
    r.at = data + 1
    r.end = data + size
    if streamed:
        if size < 5:
            return CUT_SHORT
        r.at += 4
    if kind == INSERT or kind == UPDATE or kind == DELETE:
        return read_change(s, kind, &r)
    if kind == BEGIN and not streamed:
        return read_begin(s, &r)
    if kind == COMMIT and not streamed:
        return read_commit(s, &r)
    if kind == RELATION:
        return read_relation(s, &r)
    if kind == ORIGIN or kind == TYPE:
        return GOOD
    return MESSAGE_STOP

cdef inline bint was_aborted(const Stream* s, uint32_t xid) noexcept nogil:
    cdef size_t at
    for at in range(s.aborted_count):
        if s.aborted[at] == xid:
            return True
    return False

cdef inline int read_copy_data(Stream* s, const uint8_t* data, size_t size) noexcept nogil:
    """One message of the COPY: XLogData or a keepalive."""
    cdef uint64_t lsn
    s.bad_type = 0
    if size >= XLOG_HEADER and data[0] == XLOG_DATA:
        lsn = read64(data + 1)
        if lsn:  # Relation and Type messages have none
            s.lsn = lsn
        return read_message(s, data + XLOG_HEADER, size - XLOG_HEADER, False)
    if size == KEEPALIVE_SIZE and data[0] == KEEPALIVE:
        s.keepalive_end = read64(data + 1)
        return REPLY_STOP if data[17] else GOOD
    return BAD_WRAPPER
