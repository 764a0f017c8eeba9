from forebay_agent.kernel.buffers cimport ColumnBuffer
from forebay_agent.kernel.pgoutput_rows cimport Table

cdef class TableDecoder:
    cdef Table table
    cdef object schema
    cdef object fields
    cdef _set_kind(self, int number, object kind, int form)
    cdef void _release(self) noexcept
    cdef object _taken(self, ColumnBuffer* column, object kind, bint packed)
    cdef object _absent_names(self)
