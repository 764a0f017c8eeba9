# What the events of a replication stream look like, apart from rows.
#
# Each packet is a 3-byte little-endian length, a sequence byte and the payload; a payload of 0xffffff bytes or more goes on in
# the next packet. The payload is 0x00 and an event, or an EOF (0xfe) or ERR (0xff) packet. An event:
#
#     header   timestamp 4 (seconds), type 1, server id 4, size 4 (all of the event), end position 4 (mod 2 ** 32; 0: none), flags 2
#     body     by type; all numbers little-endian
#     CRC-32   4 bytes over header and body, when the FORMAT_DESCRIPTION before says so. That event itself always has its 4
#              bytes, and says in the byte before them: 0 no checksums, 1 CRC-32
#
#     QUERY 2                   thread 4, seconds 4, length of database 1, error 2, length of variables 2, variables, database, 0, statement
#     XID 16                    8 bytes
#     TABLE_MAP 19              table id 6, flags 2, lengths and names of database and table (length 1, name, 0), number of columns
#                               (length-encoded), a type byte each, length-encoded metadata, bitmap of nullable columns, more
#     HEARTBEAT 27              the file's name; its position stands in the header
#     GTID 33, ANONYMOUS 34     flags 1, server's UUID 16, number 8; MySQL 5.7 on: 2, two numbers of 8; MySQL 8: commit time 7 (microseconds, the
#                               highest bit tells that another time follows), more
#     HEARTBEAT_V2 41           fields of type 1, length-encoded length and value: 1 the file's name, 2 the position (length-encoded)
#     MariaDB GTID 162          number 8, domain 4, flags 1; by flag 2 a commit id 8; by XA flags an xid (format 4, two lengths 1, so many
#                               bytes); extra flags 1 and what they call for; zeros up to 19 bytes
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from forebay_agent.kernel.binlog_layout cimport little, write_number

cdef enum:
    HEADER = 4                # of a packet
    FULL_PACKET = 0xffffff
    EVENT_HEADER = 19
    CHECKSUM = 4
    MOST_NAME = 512           # bytes of a file's name
    MOST_GTID = 128
    MOST_POSITION = MOST_NAME + MOST_GTID + 24

    STATEMENT_ENDS = 1        # flag of a row event
    NO_TABLE = 0xffffff       # the table id of a row event that only says that the statement ends
    ARTIFICIAL = 0x20         # flag of an event's header
    MARIADB_XA = 64 | 128     # flags of MariaDB's GTID
    MARIADB_GROUP_COMMIT = 2

cdef enum EventType:
    QUERY = 2
    ROTATE = 4
    FORMAT_DESCRIPTION = 15
    XID = 16
    TABLE_MAP = 19
    HEARTBEAT = 27
    ROWS_QUERY = 29
    GTID = 33
    ANONYMOUS_GTID = 34
    PARTIAL_UPDATE_ROWS = 39
    HEARTBEAT_V2 = 41
    ANNOTATE_ROWS = 160
    MARIADB_GTID = 162

cdef struct Name:
    uint8_t[MOST_NAME] text
    size_t size

cdef struct Identifier:
    # a GTID: MariaDB's domain, server and number; MySQL's server UUID and number
    bint mariadb
    uint32_t domain
    uint32_t server
    uint8_t[16] uuid
    uint64_t number

cdef struct Interval:
    # numbers `first` to `last.number` of one server's transactions
    Identifier last
    uint64_t first


cdef inline bint is_rows(int kind) noexcept nogil:
    return 23 <= kind <= 25 or 30 <= kind <= 32


cdef inline bint has_table_id(int kind) noexcept nogil:
    """Row events of any kind: also those that Python has to inflate, or to refuse."""
    return is_rows(kind) or 166 <= kind <= 171 or kind == PARTIAL_UPDATE_ROWS


cdef inline void write_two(uint8_t* text, uint8_t byte) noexcept nogil:
    cdef int high = byte >> 4
    cdef int low = byte & 15
    text[0] = <uint8_t>(48 + high if high < 10 else 87 + high)
    text[1] = <uint8_t>(48 + low if low < 10 else 87 + low)


cdef inline int write_uuid(uint8_t* text, const uint8_t* uuid) noexcept nogil:
    cdef int length = 0
    cdef int i
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            text[length] = 45
            length += 1
        write_two(text + length, uuid[i])
        length += 2
    return length


cdef inline int write_identifier(uint8_t* text, const Identifier* gtid) noexcept nogil:
    """`0-1-42` or `3e11fa47-…:23`; -> how many characters, at most 57."""
    cdef int length
    if not gtid.mariadb:
        length = write_uuid(text, gtid.uuid)
        text[length] = 58
        return length + 1 + write_number(text + length + 1, gtid.number)
    length = write_number(text, gtid.domain)
    text[length] = 45
    length += 1 + write_number(text + length + 1, gtid.server)
    text[length] = 45
    return length + 1 + write_number(text + length + 1, gtid.number)


cdef inline bint statement_is(const uint8_t* body, size_t size, const char* statement, size_t length) noexcept nogil:
    """Whether a QUERY's statement is this one."""
    cdef size_t at
    if size < 13:
        return False
    at = 13 + (body[11] | (<size_t>body[12] << 8)) + body[8] + 1
    return at <= size and size - at == length and memcmp(body + at, statement, length) == 0


cdef inline int64_t commit_time(const uint8_t* body, size_t size) noexcept nogil:
    """The microseconds of MySQL 8's GTID event; 0 when it has none."""
    if size < 49 or body[25] != 2:
        return 0
    return <int64_t>(little(body + 42, 7) & ~(<uint64_t>1 << 55))


cdef inline int64_t length_encoded(const uint8_t* body, size_t size, size_t* at) noexcept nogil:
    """The number at body[at[0]], which then is after it; -1 when it is cut off or none."""
    cdef int more = 0
    cdef uint64_t value
    if at[0] >= size:
        return -1
    value = body[at[0]]
    at[0] += 1
    if value < 251:
        return <int64_t>value
    more = 2 if value == 252 else 3 if value == 253 else 8 if value == 254 else 0
    if more == 0 or size - at[0] < <size_t>more:
        return -1
    value = little(body + at[0], more)
    at[0] += more
    return -1 if value >> 62 else <int64_t>value


cdef inline int table_layout(const uint8_t* body, size_t size, size_t* types, size_t* count, size_t* metadata, size_t* length) noexcept nogil:
    """Where in a TABLE_MAP the type bytes and the metadata of its columns stand; 0, or -1 when it is none."""
    cdef size_t at = 8
    cdef int64_t value
    cdef int i
    for i in range(2):  # database and table
        if at >= size or size - at < <size_t>body[at] + 2:
            return -1
        at += <size_t>body[at] + 2
    value = length_encoded(body, size, &at)
    if value < 0 or <uint64_t>value > size - at:
        return -1
    types[0] = at
    count[0] = <size_t>value
    at += <size_t>value
    value = length_encoded(body, size, &at)
    if value < 0 or <uint64_t>value > size - at:
        return -1
    metadata[0] = at
    length[0] = <size_t>value
    return 0
