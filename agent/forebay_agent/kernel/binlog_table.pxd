# The decoder of one table, for the scanner that fills it.
from forebay_agent.kernel.binlog_rows cimport Table

cdef class TableDecoder:
    cdef Table table
    cdef readonly bytes layout  # per column the type byte and its metadata, as a TABLE_MAP has them
