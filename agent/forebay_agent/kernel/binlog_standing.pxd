# What a scanner of the log tells of where it stands.
from forebay_agent.kernel.binlog_state cimport Scan

cdef class Standing:
    cdef Scan scan
    cdef str finished_file  # of the last transaction that has ended, when that is not the current file
