# What is known at a place in a replication stream, and what changes where transactions begin and end.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from forebay_agent.kernel.binlog_events cimport Identifier, MOST_GTID, MOST_POSITION, Name, write_identifier
from forebay_agent.kernel.binlog_ids cimport Ended, Ids, note_ended
from forebay_agent.kernel.binlog_layout cimport IN_TRANSACTION, NO_MEMORY
from forebay_agent.kernel.binlog_packets cimport Packets

cdef enum Stop:
    GO = 0
    STOP_EVENT = 1
    STOP_ENOUGH = 2
    STOP_FULL = 3
    STOP_PARTIAL = 4
    STOP_ENDED = 5
    STOP_REFUSED = 6

cdef enum:
    MOST_ENDED = 4096         # GTIDs that wait to be taken

cdef struct Transaction:
    uint8_t[MOST_GTID] gtid   # as text
    size_t gtid_size
    int64_t committed_at      # 0: not known

cdef struct Scan:
    Packets packets
    Ids ids
    Ended ended
    bint verify
    bint checksum
    # limits, and what was decoded into all tables together, and into the fullest one
    int64_t enough_rows
    int64_t enough_size
    int64_t most_rows
    int64_t most_size
    int64_t size
    int64_t rows
    bint filled
    bint each_end             # every transaction's end is a reason to stop
    # where it stands
    Name file
    int64_t position
    uint8_t[MOST_POSITION] place
    size_t place_prefix       # bytes of `gtid@file:`
    Identifier gtid
    bint has_gtid
    int gtid_flags
    Transaction now
    uint64_t serial           # of the transaction; the first is 1
    bint in_transaction
    int64_t open_rows
    # the last one that has ended
    Transaction last
    int64_t finished
    bint finished_here        # in `file`
    int64_t finished_position
    int64_t heartbeats
    Name heartbeat_file
    int64_t heartbeat_position
    # the event
    int kind
    int flags
    uint32_t server
    uint32_t timestamp
    int64_t event_position
    uint64_t table_id
    const uint8_t* body
    size_t body_size
    size_t resume             # where in the body to go on with its rows; 0: at their beginning
    size_t bad_offset
    int bad_column            # -1: none


cdef inline void write_prefix(Scan* s) noexcept nogil:
    """What the rows' positions begin with."""
    cdef size_t size = s.now.gtid_size
    memcpy(s.place, s.now.gtid, size)
    if size:
        s.place[size] = 64
        size += 1
    memcpy(s.place + size, s.file.text, s.file.size)
    size += s.file.size
    s.place[size] = 58
    s.place_prefix = size + 1


cdef inline int begin(Scan* s, int64_t committed_at) noexcept nogil:
    """A transaction begins: with `gtid` when `has_gtid`."""
    if s.in_transaction and s.open_rows:
        return IN_TRANSACTION
    s.in_transaction = True
    s.serial += 1
    s.open_rows = 0
    s.now.committed_at = committed_at
    s.now.gtid_size = write_identifier(s.now.gtid, &s.gtid) if s.has_gtid else 0
    write_prefix(s)
    return GO


cdef inline int finish(Scan* s) noexcept nogil:
    """The event ends the transaction."""
    if s.has_gtid and s.in_transaction and note_ended(&s.ended, &s.gtid) != 0:
        return NO_MEMORY
    s.in_transaction = False
    s.open_rows = 0
    s.finished += 1
    s.finished_here = True
    s.finished_position = s.position
    memcpy(s.last.gtid, s.now.gtid, s.now.gtid_size)
    s.last.gtid_size = s.now.gtid_size
    s.last.committed_at = s.now.committed_at
    if s.ended.count >= MOST_ENDED:
        s.filled = True
    return STOP_ENOUGH if s.filled else GO
