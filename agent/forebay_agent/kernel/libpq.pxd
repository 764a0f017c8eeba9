# The four libpq functions that read a COPY: called by address, because libpq is the one that psycopg has loaded.
from libc.stdint cimport uintptr_t

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout_ms)
    const short POLLIN

ctypedef int (*get_copy_data_function)(void*, char**, int) noexcept nogil
ctypedef void (*free_function)(void*) noexcept nogil
ctypedef int (*connection_function)(void*) noexcept nogil

cdef struct Libpq:
    get_copy_data_function get_copy_data
    free_function free_memory
    connection_function consume_input
    connection_function socket

cdef inline Libpq libpq_at(uintptr_t get_copy_data, uintptr_t free_memory, uintptr_t consume_input, uintptr_t socket) noexcept:
    cdef Libpq libpq
    libpq.get_copy_data = <get_copy_data_function>get_copy_data
    libpq.free_memory = <free_function>free_memory
    libpq.consume_input = <connection_function>consume_input
    libpq.socket = <connection_function>socket
    return libpq

cdef inline int next_message(const Libpq* libpq, void* connection, int wait_ms, char** message) noexcept nogil:
    """Size of the next message, which the caller frees; 0 when none came within `wait_ms` or a signal did; -1 when the COPY
    has ended; -2 when the connection is lost."""
    cdef int size
    cdef pollfd waiting
    waiting.fd = libpq.socket(connection)
    waiting.events = POLLIN
    while True:
        size = libpq.get_copy_data(connection, message, 1)
        if size != 0:
            return size
        if waiting.fd < 0:
            return -2
        waiting.revents = 0
        if poll(&waiting, 1, wait_ms) <= 0:
            return 0
        if libpq.consume_input(connection) == 0:
            return -2
