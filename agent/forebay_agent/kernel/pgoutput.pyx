# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""PostgreSQL's logical replication stream -> Arrow record batches, without a Python object per message.

The formats stand in pgoutput_stream.pxd (messages), pgoutput_rows.pxd (tuples) and pgoutput_values.pxd (values); what
the classes promise stands in pgoutput.pyi.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from forebay_agent.kernel.libpq cimport Libpq, libpq_at, next_message, poll
from forebay_agent.kernel.pgoutput_rows cimport BAD_FIELD, BAD_TUPLE, BAD_WIDTH, CUT_SHORT, NO_KEY, TOO_LONG
from forebay_agent.kernel.pgoutput_stream cimport (
    BAD_TIME,
    BAD_WRAPPER,
    FRAME_HEADER,
    FULL_STOP,
    IN_TRANSACTION,
    MESSAGE_STOP,
    NO_SEGMENT,
    NO_TRANSACTION,
    NOT_IN_SEGMENT,
    OTHER_COMMIT,
    RELATION,
    REPLY_STOP,
    SEGMENT_STOP,
    STREAM_COMMIT,
    UNFIT_STOP,
    UNKNOWN_RELATION,
    XLOG_HEADER,
    Slot,
    Stream,
    begin,
    count_again,
    finish,
    read_copy_data,
    read_message,
    slot_of,
    was_aborted,
)
from forebay_agent.kernel.pgoutput_table cimport TableDecoder as Decoder
from forebay_agent.kernel.pgoutput_values cimport GOOD, NO_MEMORY
from forebay_agent.kernel.postgresql_binary cimport read16, read32, read64

from forebay_agent.kernel.pgoutput_table import AS_SENT, TRUE_FALSE, WITH_NETMASK, TableDecoder

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(clockid_t clock, timespec* time)
    const clockid_t CLOCK_MONOTONIC

cpdef enum:
    WAITING = 0
    FULL = 1
    UNFIT = 2
    MESSAGE = 3
    SEGMENT = 4
    REPLY = 5
    ENDED = 6
    LOST = 7

cdef enum:
    CLOCK_EVERY = 256  # messages
    REST_MS = 5  # measured: from 1 to 5 halves the CPU per row; the server gets to send more at once, and both are faster
    WIDTH_AT = 5  # where a Relation message's names begin
    STREAM_COMMIT_SIZE = 30

_REASONS = {
    CUT_SHORT: "it is cut short",
    TOO_LONG: "it is longer than what it holds",
    BAD_WIDTH: "it has another number of columns than its relation",
    BAD_FIELD: "a column is neither NULL, unchanged nor text",
    BAD_TUPLE: "a tuple is missing, or of a kind that is not known",
    NO_KEY: "it does not hold the whole key",
    NO_TRANSACTION: "no transaction has begun",
    IN_TRANSACTION: "the transaction before has not ended",
    OTHER_COMMIT: "it ends another transaction than has begun",
    UNKNOWN_RELATION: "its relation was not described before",
    NO_SEGMENT: "no stream segment has begun",
    NOT_IN_SEGMENT: "it cannot stand within a stream segment",
    BAD_TIME: "its time is not possible",
    BAD_WRAPPER: "neither WAL data nor a keepalive",
}


cdef class LogScanner:
    cdef Stream stream
    cdef dict relations  # number -> (Relation message, decoder): what the slots point at
    cdef object kept

    def __cinit__(self, *args, **kwargs):
        memset(&self.stream, 0, sizeof(Stream))

    def __init__(self, most_rows=25_000, most_bytes=16 << 20, size_t segment_bytes=1 << 20, bint each_relation=False):
        self.relations = {}
        self.most_rows = most_rows
        self.most_bytes = most_bytes
        self.stream.segment_most = segment_bytes
        self.stream.each_relation = each_relation

    def __dealloc__(self):
        free(self.stream.slots)
        free(self.stream.aborted)
        free(self.stream.segment)
        free(self.stream.xids)

    @property
    def most_rows(self):
        return self.stream.most_rows

    @most_rows.setter
    def most_rows(self, value):
        if not 0 < value <= 1 << 30:
            raise ValueError(f"not a number of rows to stop at: {value}")
        self.stream.most_rows = value

    @property
    def most_bytes(self):
        return self.stream.most_bytes

    @most_bytes.setter
    def most_bytes(self, value):
        if not 0 < value <= 1 << 30:
            raise ValueError(f"not a number of bytes to stop at: {value}")
        self.stream.most_bytes = value

    @property
    def open(self):
        return bool(self.stream.open)

    @property
    def in_segment(self):
        return bool(self.stream.in_segment)

    @property
    def xid(self):
        return self.stream.commit.xid

    @property
    def final_lsn(self):
        return self.stream.commit.final_lsn

    @property
    def committed_at(self):
        return self.stream.commit.committed_at

    @property
    def commit_end(self):
        return self.stream.commit_end

    @property
    def transactions(self):
        return self.stream.transactions

    @property
    def changes(self):
        return self.stream.changes

    @property
    def keepalive_end(self):
        return self.stream.keepalive_end

    @property
    def lsn(self):
        return self.stream.lsn

    @property
    def message(self):
        return self.kept

    def register(self, bytes message not None, Decoder decoder):
        cdef uint32_t relation
        width = relation_width(message)
        if decoder is not None and decoder.table.width != width:
            raise ValueError(f"a relation of {width} columns; the decoder wants {decoder.table.width}")
        relation = read32(<const uint8_t*>PyBytes_AS_STRING(message) + 1)
        self.relations[relation] = (message, decoder)
        self._rebuild()

    def forget(self, relation):
        if self.relations.pop(relation, None) is not None:
            self._rebuild()

    cdef _rebuild(self):
        cdef size_t count = 16
        cdef Slot* slots
        cdef Slot* slot
        cdef bytes message
        cdef Decoder decoder
        while count < 2 * <size_t>len(self.relations):
            count *= 2
        slots = <Slot*>calloc(count, sizeof(Slot))
        if slots == NULL:
            raise MemoryError
        free(self.stream.slots)
        self.stream.slots = slots
        self.stream.slot_count = count
        for relation, (message, decoder) in self.relations.items():
            slot = slot_of(&self.stream, relation)
            slot.relation = relation
            slot.used = True
            slot.message = <const uint8_t*>PyBytes_AS_STRING(message)
            slot.size = PyBytes_GET_SIZE(message)
            slot.table = NULL if decoder is None else &decoder.table

    def drain(self, libpq, uintptr_t connection, int wait_ms):
        cdef uintptr_t get_copy_data, free_memory, consume_input, socket
        cdef char* message = NULL
        cdef int size = 0
        cdef int outcome
        get_copy_data, free_memory, consume_input, socket = libpq
        if not (get_copy_data and free_memory and consume_input and socket and connection):
            raise ValueError("wants four functions and a connection")
        if self.stream.replaying:
            raise ValueError("a streamed transaction is being replayed")
        cdef Libpq functions = libpq_at(get_copy_data, free_memory, consume_input, socket)
        self.kept = None
        with nogil:
            outcome = self._drain(&functions, <void*>connection, wait_ms, &message, &size)
        try:
            if outcome == MESSAGE_STOP:
                self._keep(<const uint8_t*>message + XLOG_HEADER, size - XLOG_HEADER, False)
        finally:
            if message != NULL:
                functions.free_memory(message)
        return self._checked(outcome)

    def feed(self, bytes message not None, uint64_t lsn=0, bint streamed=False):
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(message)
        cdef size_t size = PyBytes_GET_SIZE(message)
        cdef int outcome
        self.kept = None
        if lsn:
            self.stream.lsn = lsn
        if self.stream.enough or self.stream.bytes >= self.stream.most_bytes:
            count_again(&self.stream)
        with nogil:
            outcome = read_message(&self.stream, data, size, streamed)
        if outcome == MESSAGE_STOP:
            self._keep(data, size, streamed)
        return self._checked(outcome)

    def take_segment(self):
        cdef Stream* s = &self.stream
        frames = PyBytes_FromStringAndSize(<char*>s.segment, s.segment_size)
        free(s.segment)
        s.segment = NULL
        s.segment_size = 0
        s.segment_capacity = 0
        s.segment_due = False
        return s.segment_xid, frames

    def begin_streamed(self, bytes message not None, aborted=()):
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(message)
        cdef uint32_t* xids
        if PyBytes_GET_SIZE(message) != STREAM_COMMIT_SIZE or data[0] != STREAM_COMMIT:
            raise ValueError(f"no Stream Commit message of {STREAM_COMMIT_SIZE} bytes")
        numbers = sorted(set(aborted))
        xids = <uint32_t*>malloc(4 * (len(numbers) + 1))
        if xids == NULL:
            raise MemoryError
        free(self.stream.aborted)
        self.stream.aborted = xids
        self.stream.aborted_count = 0
        for xid in numbers:
            xids[self.stream.aborted_count] = xid
            self.stream.aborted_count += 1
        self.stream.bad_type = STREAM_COMMIT
        cdef int64_t time = <int64_t>read64(data + 22)
        self._checked(begin(&self.stream, read32(data + 1), read64(data + 6), read64(data + 14), time))
        self.stream.replaying = True

    def replay(self, bytes frames not None, size_t start=0):
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(frames)
        cdef size_t size = PyBytes_GET_SIZE(frames)
        cdef size_t at = start
        cdef size_t message = start
        cdef int outcome
        if not self.stream.replaying:
            raise ValueError("no streamed transaction is being replayed")
        if start > size:
            raise ValueError(f"no offset of {size} bytes: {start}")
        self.kept = None
        with nogil:
            outcome = self._replay(data, size, &at, &message)
        if outcome == MESSAGE_STOP:
            self._keep(data + message, at - message, True)
        return self._checked(outcome), at

    def end_streamed(self):
        if not self.stream.replaying:
            raise ValueError("no streamed transaction is being replayed")
        self.stream.replaying = False
        if finish(&self.stream, self.stream.commit.end_lsn) == NO_MEMORY:
            raise MemoryError

    def take_xids(self):
        xids = PyBytes_FromStringAndSize(<char*>self.stream.xids, 4 * self.stream.xid_count)
        self.stream.xid_count = 0
        return xids

    cdef _keep(self, const uint8_t* data, size_t size, bint streamed):
        message = PyBytes_FromStringAndSize(<const char*>data, size)
        self.kept = message[:1] + message[5:] if streamed else message

    cdef object _checked(self, int outcome):
        if outcome >= 0:
            return outcome
        if outcome == NO_MEMORY:
            raise MemoryError("a column of one batch would take more than 2 GiB, or memory is exhausted")
        kind = self.stream.bad_type
        name = f"message {chr(kind)!r}" if 32 < kind < 127 else f"message of type {kind}" if kind else "message"
        place = f"{self.stream.lsn >> 32:X}/{self.stream.lsn & 0xffffffff:X}"
        raise ValueError(f"logical replication stream, {name} at {place}: {_REASONS.get(outcome)}")

    cdef int _drain(
        self, const Libpq* libpq, void* connection, int wait_ms, char** message, int* size
    ) noexcept nogil:
        """The message is left to the caller, who frees it."""
        cdef int64_t deadline = milliseconds() + wait_ms
        cdef int64_t remaining
        cdef uint32_t messages = 0
        cdef bint rested = True
        cdef int outcome = count_again(&self.stream)
        if self.stream.segment_due:
            return SEGMENT_STOP
        while outcome == GOOD:
            size[0] = libpq.get_copy_data(connection, message, 1)
            if size[0] == 0:
                size[0] = next_message(libpq, connection, 0, message)
            if size[0] == 0:
                remaining = deadline - milliseconds()
                if not rested and remaining > REST_MS:
                    # the server sends each message by itself: to wake for each costs more than to decode it
                    poll(NULL, 0, REST_MS)
                    rested = True
                    remaining -= REST_MS
                size[0] = next_message(libpq, connection, <int>remaining if remaining > 0 else 0, message)
                if size[0] == 0:
                    return WAITING
            if size[0] < 0:
                return ENDED if size[0] == -1 else LOST
            outcome = read_copy_data(&self.stream, <const uint8_t*>message[0], size[0])
            if outcome != GOOD:
                break
            libpq.free_memory(message[0])
            message[0] = NULL
            rested = False
            messages += 1
            if messages % CLOCK_EVERY == 0 and milliseconds() >= deadline:
                break
        return outcome

    cdef int _replay(self, const uint8_t* data, size_t size, size_t* at, size_t* message) noexcept nogil:
        cdef uint32_t length
        cdef int outcome = count_again(&self.stream)
        while outcome == GOOD and at[0] < size:
            self.stream.bad_type = 0
            if size - at[0] < FRAME_HEADER:
                return CUT_SHORT
            memcpy(&length, data + at[0], 4)
            memcpy(&self.stream.lsn, data + at[0] + 4, 8)
            if size - at[0] - FRAME_HEADER < length or length < 5:
                return CUT_SHORT
            message[0] = at[0] + FRAME_HEADER
            at[0] = message[0] + length
            if self.stream.aborted_count and was_aborted(&self.stream, read32(data + message[0] + 1)):
                continue
            outcome = read_message(&self.stream, data + message[0], length, True)
        return outcome


cdef inline int64_t milliseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef int relation_width(bytes message) except -1:
    """How many columns a Relation message describes."""
    cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(message)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
    if size > WIDTH_AT and data[0] == RELATION:
        names = message.find(b"\0", message.find(b"\0", WIDTH_AT) + 1)  # namespace and name end there
        if 0 <= WIDTH_AT < names and size >= names + 4:
            return read16(data + <Py_ssize_t>names + 2)
    raise ValueError("no Relation message")
