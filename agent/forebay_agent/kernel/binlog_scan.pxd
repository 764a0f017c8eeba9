# The events of a replication stream, one after the other: transactions, tables and rows (formats: binlog_events.pxd).
#
# Functions return GO, a reason to stop (STOP_…), or a negative outcome; then the scanner is of no more use.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from forebay_agent.kernel.binlog_checksum cimport CHECKSUM_START, checksum_more
from forebay_agent.kernel.binlog_events cimport (
    ANNOTATE_ROWS,
    ANONYMOUS_GTID,
    ARTIFICIAL,
    CHECKSUM,
    EVENT_HEADER,
    FORMAT_DESCRIPTION,
    GTID,
    HEADER,
    HEARTBEAT,
    HEARTBEAT_V2,
    MARIADB_GROUP_COMMIT,
    MARIADB_GTID,
    MARIADB_XA,
    MOST_NAME,
    NO_TABLE,
    QUERY,
    ROTATE,
    ROWS_QUERY,
    STATEMENT_ENDS,
    TABLE_MAP,
    XID,
    commit_time,
    has_table_id,
    is_rows,
    length_encoded,
    statement_is,
)
from forebay_agent.kernel.binlog_ids cimport Entry, find
from forebay_agent.kernel.binlog_layout cimport (
    BAD_CHECKSUM,
    BAD_FORMAT,
    BAD_OFFSET,
    BAD_SIZE,
    BAD_STATUS,
    BAD_WIDTH,
    CUT,
    NOT_IN_TRANSACTION,
    little,
    write_number,
)
from forebay_agent.kernel.binlog_rows cimport Place, RowsHeader, Table, all_set, append_row, read_rows_header
from forebay_agent.kernel.binlog_state cimport (
    GO,
    STOP_ENDED,
    STOP_EVENT,
    STOP_FULL,
    STOP_PARTIAL,
    STOP_REFUSED,
    Scan,
    begin,
    finish,
)


cdef inline int scan_mariadb_gtid(Scan* s, const uint8_t* body, size_t size) noexcept nogil:
    cdef size_t at = 13
    cdef int outcome
    if size < 13:
        return CUT
    s.gtid.mariadb = True
    s.gtid.number = little(body, 8)
    s.gtid.domain = <uint32_t>little(body + 8, 4)
    s.gtid.server = s.server
    s.has_gtid = True
    s.gtid_flags = body[12]
    if body[12] & MARIADB_GROUP_COMMIT:
        at += 8
    if body[12] & MARIADB_XA:
        if size < at + 6:
            return CUT
        at += 6 + <size_t>body[at + 4] + body[at + 5]
    if at < size:
        s.gtid_flags |= body[at] << 8
    outcome = begin(s, <int64_t>s.timestamp * 1000000)
    return STOP_EVENT if outcome == GO and body[12] & MARIADB_XA else outcome


cdef inline int scan_mysql_gtid(Scan* s, int kind, const uint8_t* body, size_t size) noexcept nogil:
    cdef int64_t committed_at
    if size < 25:
        return CUT
    s.gtid.mariadb = False
    memcpy(s.gtid.uuid, body + 1, 16)
    s.gtid.number = little(body + 17, 8)
    s.has_gtid = kind == GTID
    s.gtid_flags = body[0]
    committed_at = commit_time(body, size)
    return begin(s, committed_at if committed_at else <int64_t>s.timestamp * 1000000)


cdef inline int scan_query(Scan* s, const uint8_t* body, size_t size) noexcept nogil:
    if statement_is(body, size, "BEGIN", 5):
        if s.in_transaction:
            return GO
        s.has_gtid = False
        s.gtid_flags = 0
        return begin(s, <int64_t>s.timestamp * 1000000)
    if s.in_transaction and statement_is(body, size, "COMMIT", 6):
        return finish(s)
    return STOP_EVENT


cdef inline int scan_heartbeat(Scan* s, int kind, const uint8_t* body, size_t size) noexcept nogil:
    cdef size_t at = 0
    cdef size_t inner
    cdef int64_t field, length
    cdef int64_t position = s.heartbeat_position
    if kind == HEARTBEAT:
        if size > MOST_NAME:
            return BAD_FORMAT
        memcpy(s.heartbeat_file.text, body, size)
        s.heartbeat_file.size = size
    else:
        while at < size:
            field = length_encoded(body, size, &at)
            if field == 0:
                break
            length = length_encoded(body, size, &at)
            if length < 0 or <size_t>length > size - at:
                return CUT
            if field == 1 and length <= MOST_NAME:
                memcpy(s.heartbeat_file.text, body + at, length)
                s.heartbeat_file.size = length
            elif field == 2:
                inner = at
                position = length_encoded(body, size, &inner)
            at += length
        s.heartbeat_position = position
    s.heartbeats += 1
    return GO


cdef inline int scan_table_map(Scan* s, const uint8_t* body, size_t size) noexcept nogil:
    cdef Entry* entry
    if size < 8:
        return CUT
    s.table_id = little(body, 6)
    entry = find(&s.ids, s.table_id)
    if entry == NULL:
        return STOP_EVENT
    if entry.size != size or memcmp(entry.body, body, size) != 0:
        entry.transaction = 0  # what it stood for it no longer stands for
        return STOP_EVENT
    entry.transaction = s.serial
    return GO


cdef inline int decode_rows(Scan* s, Table* table, int kind, const uint8_t* body, size_t size, size_t at) noexcept nogil:
    """The rows from body[at:] on; STOP_FULL with `resume` when there is no room for more of them."""
    cdef Place place
    cdef int64_t length = 0
    cdef int64_t others = s.size - table.size
    cdef int64_t before = table.rows
    if table.transaction != s.serial:
        table.transaction = s.serial
        table.open_from = table.rows
    place.position = s.place
    place.position_size = s.place_prefix + write_number(s.place + s.place_prefix, s.event_position)
    place.committed_at = s.now.committed_at
    while at < size:
        if table.rows >= s.most_rows or others + table.size >= s.most_size:
            s.resume = at
            break
        length = append_row(table, kind, body + at, body + size, &place)
        if length < 0:
            s.bad_offset = at
            s.bad_column = table.bad_column
            break
        at += length
    s.size = others + table.size
    s.open_rows += table.rows - before
    if table.rows > s.rows:
        s.rows = table.rows
    if table.rows >= s.enough_rows or s.size >= s.enough_size:
        s.filled = True
    if length < 0:
        return <int>length
    return GO if at == size else STOP_FULL


cdef inline int scan_rows(Scan* s, int kind, const uint8_t* body, size_t size, size_t start) noexcept nogil:
    """start: where to go on in the body, 0: at the first row."""
    cdef RowsHeader header
    cdef Entry* entry
    cdef int outcome
    if size < 8:
        return CUT
    s.table_id = little(body, 6)
    entry = find(&s.ids, s.table_id)
    if not s.in_transaction:
        return NOT_IN_TRANSACTION
    if entry == NULL or entry.transaction != s.serial:
        return GO if entry == NULL and s.table_id == NO_TABLE and body[6] & STATEMENT_ENDS else STOP_EVENT
    if entry.table == NULL:
        return GO
    if not is_rows(kind):
        return STOP_EVENT
    outcome = read_rows_header(kind, body, size, &header)
    if outcome < 0:
        return outcome
    if header.width != <uint64_t>entry.table.count:
        return BAD_WIDTH
    if not all_set(body + header.bitmaps, entry.table.count) or (
        header.update and not all_set(body + header.bitmaps + entry.table.bitmap, entry.table.count)
    ):
        return STOP_PARTIAL
    if start and (start < header.rows or start > size):
        return BAD_OFFSET
    return decode_rows(s, entry.table, kind, body, size, start if start else header.rows)


cdef inline int scan_body(Scan* s, int kind, const uint8_t* body, size_t size, size_t start) noexcept nogil:
    """An event without header and checksum."""
    s.kind = kind
    s.table_id = 0
    s.resume = 0
    if kind == TABLE_MAP:
        return scan_table_map(s, body, size)
    if has_table_id(kind):
        return scan_rows(s, kind, body, size, start)
    if kind == MARIADB_GTID:
        return scan_mariadb_gtid(s, body, size)
    if kind == XID:
        return finish(s)
    if kind == GTID or kind == ANONYMOUS_GTID:
        return scan_mysql_gtid(s, kind, body, size)
    if kind == QUERY:
        return scan_query(s, body, size)
    if kind == ANNOTATE_ROWS or kind == ROWS_QUERY:
        return GO
    if kind == HEARTBEAT or kind == HEARTBEAT_V2:
        return scan_heartbeat(s, kind, body, size)
    return STOP_EVENT


cdef inline bint checksum_fits(const uint8_t* event, size_t size) noexcept nogil:
    """Whether the last 4 bytes are the checksum of those before them."""
    return <uint32_t>~checksum_more(CHECKSUM_START, event, size - CHECKSUM) == <uint32_t>little(event + size - CHECKSUM, 4)


cdef inline void read_header(Scan* s, const uint8_t* event, size_t size) noexcept nogil:
    """The header's 19 bytes, and where the event stands; `size`: of all of it."""
    cdef int64_t end = <int64_t>little(event + 13, 4)
    s.timestamp = <uint32_t>little(event, 4)
    s.kind = event[4]
    s.server = <uint32_t>little(event + 5, 4)
    s.flags = event[17] | (event[18] << 8)
    s.event_position = 0
    s.table_id = 0
    if s.kind == HEARTBEAT or s.kind == HEARTBEAT_V2:
        s.heartbeat_position = end
    elif end and not s.flags & ARTIFICIAL:
        end |= s.position >> 32 << 32
        if end + (<int64_t>1 << 31) < s.position:  # the header has 32 bits, files may be longer
            end += <int64_t>1 << 32
        s.position = end
        s.event_position = end - <int64_t>size if end > <int64_t>size else 0


cdef inline int scan_event(Scan* s, const uint8_t* event, size_t size) noexcept nogil:
    """A whole event of a packet."""
    cdef bint checked
    if size < EVENT_HEADER:
        return CUT
    if little(event + 9, 4) != size:
        return BAD_SIZE
    read_header(s, event, size)
    s.body = event + EVENT_HEADER
    s.body_size = size - EVENT_HEADER
    s.bad_column = -1
    s.bad_offset = 0
    checked = s.checksum
    if s.kind == FORMAT_DESCRIPTION:
        # version 2, server 50, time 4, length of headers 1, lengths of bodies, kind of checksum 1, checksum 4
        if s.body_size < 62 or event[size - CHECKSUM - 1] > 1:
            return BAD_FORMAT
        checked = s.checksum = event[size - CHECKSUM - 1] == 1
        if not checked:
            s.body_size -= CHECKSUM
    elif s.kind == ROTATE and s.flags & ARTIFICIAL:
        # it comes before anything has said whether there are checksums
        checked = s.body_size >= CHECKSUM and checksum_fits(event, size)
    if checked:
        if s.body_size < CHECKSUM:
            return CUT
        if s.verify and s.resume == 0 and not checksum_fits(event, size):
            return BAD_CHECKSUM
        s.body_size -= CHECKSUM
    return scan_body(s, s.kind, s.body, s.body_size, s.resume)


cdef inline int scan_payload(Scan* s, const uint8_t* payload, size_t size) noexcept nogil:
    """What a packet holds: an event, or the stream's end."""
    if size == 0:
        return BAD_STATUS
    if payload[0] == 0:
        return scan_event(s, payload + 1, size - 1)
    if payload[0] == 0xff or (payload[0] == 0xfe and size < 9):
        s.body = payload
        s.body_size = size
        return STOP_REFUSED if payload[0] == 0xff else STOP_ENDED
    return BAD_STATUS


cdef inline bint may_pass_over(Scan* s, const uint8_t* packet, size_t available) noexcept nogil:
    """Whether the packet of which the beginning is there holds rows of a table that is not followed."""
    cdef const uint8_t* event = packet + HEADER + 1
    cdef Entry* entry
    if available < HEADER + 1 + EVENT_HEADER + 8 or little(packet, 3) < s.packets.long_packet:
        return False
    if packet[3] != s.packets.sequence or packet[HEADER] != 0 or not has_table_id(event[4]):
        return False
    entry = find(&s.ids, little(event + EVENT_HEADER, 6))
    return s.in_transaction and entry != NULL and entry.transaction == s.serial and entry.table == NULL
