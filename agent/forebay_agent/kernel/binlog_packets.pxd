# The packets of a replication stream (see binlog_events.pxd): whole ones, and long ones of which nothing is wanted.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memmove

from forebay_agent.kernel.binlog_checksum cimport CHECKSUM_START, checksum_more
from forebay_agent.kernel.binlog_events cimport CHECKSUM, FULL_PACKET, HEADER
from forebay_agent.kernel.binlog_layout cimport BAD_CHECKSUM, BAD_SEQUENCE, BAD_SIZE, DONE, HUGE_EVENT, little

cdef struct Packets:
    size_t most               # bytes of payload
    size_t long_packet        # from this length on a packet may be passed over before all of it is there
    int sequence              # of the next packet
    int next_sequence         # after the one that `next_packet` gave
    size_t joined             # the payload of the packet that comes next, when it was joined in place already
    Py_ssize_t joined_taken
    size_t wanted
    # a long event that is passed over
    bint passing
    bint passing_check
    bint packet_full          # another packet goes on with it
    size_t packet_left
    size_t event_left         # bytes of the event, with its checksum
    uint32_t crc
    uint32_t tail             # the checksum as far as it was read


cdef inline int next_packet(
    Packets* s, uint8_t* at, Py_ssize_t available, Py_ssize_t* taken, size_t* size
) noexcept nogil:
    """The packet at `at`: so many bytes of input (0: not all of it is there) with `size` bytes of payload at at + HEADER, joined
    in place when it is split. It comes again until `consume`."""
    cdef Py_ssize_t read = 0
    cdef Py_ssize_t source, target
    cdef size_t length = FULL_PACKET
    cdef size_t total = 0
    cdef int sequence = s.sequence
    taken[0] = 0
    if s.joined_taken:
        taken[0] = s.joined_taken
        size[0] = s.joined
        return DONE
    while length == FULL_PACKET:
        s.wanted = read + HEADER
        if available - read < HEADER:
            return DONE
        length = little(at + read, 3)
        total += length
        s.wanted += length
        if total > s.most:
            return HUGE_EVENT
        # a server that shuts down sends its last error with sequence 0
        if at[read + 3] != (sequence & 0xff) and not (
            available - read > HEADER and at[read + HEADER] == 0xff and at[read + 3] == 0
        ):
            return BAD_SEQUENCE
        if <size_t>(available - read - HEADER) < length:
            return DONE
        read += HEADER + <Py_ssize_t>length
        sequence += 1
    if read > HEADER + <Py_ssize_t>total:
        source = target = 0
        while source < read:
            length = little(at + source, 3)
            memmove(at + HEADER + target, at + source + HEADER, length)
            target += length
            source += HEADER + length
        s.joined = total
        s.joined_taken = read
    s.next_sequence = sequence & 0xff
    taken[0] = read
    size[0] = total
    return DONE


cdef inline void consume(Packets* s) noexcept nogil:
    s.sequence = s.next_sequence
    s.joined_taken = 0


cdef inline int pass_over(Packets* s, const uint8_t* at, size_t event_size, bint check) noexcept nogil:
    """From now on `pass_more` eats the packet that begins at `at`: status byte and event, of which the header is there."""
    cdef size_t length = little(at, 3)
    if event_size + 1 > s.most:
        return HUGE_EVENT
    if (event_size + 1 != length if length < FULL_PACKET else event_size + 1 < length):
        return BAD_SIZE
    s.passing = True
    s.passing_check = check
    s.packet_left = length
    s.packet_full = length == FULL_PACKET
    s.event_left = event_size
    s.crc = CHECKSUM_START
    s.tail = 0
    s.sequence = (s.sequence + 1) & 0xff
    return DONE


cdef inline void pass_bytes(Packets* s, const uint8_t* at, size_t size) noexcept nogil:
    cdef size_t hashed
    while size and s.passing_check:
        if s.event_left > CHECKSUM:
            hashed = s.event_left - CHECKSUM if s.event_left - CHECKSUM < size else size
            s.crc = checksum_more(s.crc, at, hashed)
        else:
            hashed = 1
            s.tail |= <uint32_t>at[0] << <uint32_t>(8 * (CHECKSUM - s.event_left))
        at += hashed
        size -= hashed
        s.event_left -= hashed
    s.event_left -= size


cdef inline int pass_more(Packets* s, const uint8_t* at, Py_ssize_t available, Py_ssize_t* taken) noexcept nogil:
    """Eats more of the event that is passed over; `passing` is False once it is all eaten. The first call begins behind the
    first packet's header and status byte, which the caller eats."""
    cdef size_t length
    taken[0] = 0
    while True:
        if s.packet_left == 0:
            if not s.packet_full:
                s.passing = False
                if s.event_left != 0:
                    return BAD_SIZE
                return BAD_CHECKSUM if s.passing_check and <uint32_t>~s.crc != s.tail else DONE
            s.wanted = HEADER
            if available - taken[0] < HEADER:
                return DONE
            if at[taken[0] + 3] != s.sequence:
                return BAD_SEQUENCE
            length = little(at + taken[0], 3)
            if length > s.event_left:
                return BAD_SIZE
            s.packet_left = length
            s.packet_full = length == FULL_PACKET
            s.sequence = (s.sequence + 1) & 0xff
            taken[0] += HEADER
            continue
        length = <size_t>(available - taken[0])
        s.wanted = 1
        if length == 0:
            return DONE
        if length > s.packet_left:
            length = s.packet_left
        if length > s.event_left:
            return BAD_SIZE
        pass_bytes(s, at + taken[0], length)
        s.packet_left -= length
        taken[0] += <Py_ssize_t>length
