# Which table a table id stands for, and which transactions have ended.
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp

from forebay_agent.kernel.binlog_events cimport Identifier, Interval
from forebay_agent.kernel.binlog_rows cimport Table

cdef struct Entry:
    bint used
    uint64_t id
    const uint8_t* body       # the TABLE_MAP's, kept by the scanner
    size_t size
    Table* table              # NULL: its rows are passed over
    uint64_t transaction      # the last one in which its TABLE_MAP was seen

cdef struct Ids:
    Entry* entries            # open addressing; `capacity` is a power of 2 and at least twice `count`
    size_t capacity
    size_t count

cdef struct Ended:
    Interval* items
    size_t count
    size_t capacity


cdef inline Entry* place_of(Ids* ids, uint64_t id) noexcept nogil:
    """The id's entry, or the free one where it belongs."""
    cdef size_t at = <size_t>((id * <uint64_t>0x9E3779B97F4A7C15) >> 32) & (ids.capacity - 1)
    while ids.entries[at].used and ids.entries[at].id != id:
        at = (at + 1) & (ids.capacity - 1)
    return &ids.entries[at]


cdef inline Entry* find(Ids* ids, uint64_t id) noexcept nogil:
    """NULL when it is not known."""
    cdef Entry* entry
    if ids.capacity == 0:
        return NULL
    entry = place_of(ids, id)
    return entry if entry.used else NULL


cdef inline int resize(Ids* ids, size_t capacity, uint64_t transaction) noexcept nogil:
    """Moves to another capacity; transaction: only entries seen in it stay, 0: all. -1 when memory is exhausted."""
    cdef Ids grown
    cdef size_t i
    grown.capacity = capacity
    grown.count = 0
    grown.entries = <Entry*>calloc(capacity, sizeof(Entry))
    if grown.entries == NULL:
        return -1
    for i in range(ids.capacity):
        if ids.entries[i].used and (transaction == 0 or ids.entries[i].transaction == transaction):
            place_of(&grown, ids.entries[i].id)[0] = ids.entries[i]
            grown.count += 1
    free(ids.entries)
    ids[0] = grown
    return 0


cdef inline int note_ended(Ended* ended, const Identifier* gtid) noexcept nogil:
    """Adds a transaction; -1 when memory is exhausted."""
    cdef size_t capacity, i
    cdef Interval* item
    cdef void* grown
    for i in range(ended.count):
        item = &ended.items[ended.count - 1 - i]
        if gtid.mariadb:
            if item.last.mariadb and item.last.domain == gtid.domain:
                item.last = gtid[0]
                return 0
        elif i == 8:  # transactions that end side by side are never far apart
            break
        elif (
            not item.last.mariadb
            and item.last.number + 1 == gtid.number
            and memcmp(item.last.uuid, gtid.uuid, 16) == 0
        ):
            item.last.number = gtid.number
            return 0
    if ended.count == ended.capacity:
        capacity = ended.capacity * 2 + 64
        grown = realloc(ended.items, capacity * sizeof(Interval))
        if grown == NULL:
            return -1
        ended.items = <Interval*>grown
        ended.capacity = capacity
    ended.items[ended.count].last = gtid[0]
    ended.items[ended.count].first = gtid.number
    ended.count += 1
    return 0
