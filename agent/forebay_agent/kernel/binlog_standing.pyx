# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True, initializedcheck=False
"""What a scanner of the log tells of where it stands; all of it is described in binlog.pyi."""
from cpython.bytes cimport PyBytes_FromStringAndSize

from forebay_agent.kernel.binlog_events cimport Name
from forebay_agent.kernel.binlog_state cimport Transaction


cdef class Standing:
    @property
    def wanted(self):
        return self.scan.packets.wanted

    @property
    def checksum(self):
        return self.scan.checksum

    @property
    def rows(self):
        return self.scan.rows

    @property
    def file(self):
        return text_of(&self.scan.file)

    @property
    def position(self):
        return self.scan.position

    @property
    def gtid(self):
        return gtid_of(&self.scan.now)

    @property
    def gtid_flags(self):
        return self.scan.gtid_flags

    @property
    def committed_at_us(self):
        return self.scan.now.committed_at

    @property
    def in_transaction(self):
        return bool(self.scan.in_transaction)

    @property
    def open_rows(self):
        return self.scan.open_rows

    @property
    def finished(self):
        return self.scan.finished

    @property
    def finished_at(self):
        return (self.file if self.scan.finished_here else self.finished_file or ""), self.scan.finished_position

    @property
    def finished_gtid(self):
        return gtid_of(&self.scan.last)

    @property
    def finished_committed_at_us(self):
        return self.scan.last.committed_at

    @property
    def heartbeats(self):
        return self.scan.heartbeats

    @property
    def heartbeat_at(self):
        return text_of(&self.scan.heartbeat_file), self.scan.heartbeat_position

    @property
    def each_end(self):
        return bool(self.scan.each_end)

    @each_end.setter
    def each_end(self, value):
        self.scan.each_end = value

    @property
    def event_type(self):
        return self.scan.kind

    @property
    def event_flags(self):
        return self.scan.flags

    @property
    def event_server_id(self):
        return self.scan.server

    @property
    def event_timestamp(self):
        return self.scan.timestamp

    @property
    def event_position(self):
        return self.scan.event_position

    @property
    def event_table(self):
        return self.scan.table_id


cdef str text_of(const Name* name):
    return PyBytes_FromStringAndSize(<const char*>name.text, name.size).decode(errors="replace")


cdef str gtid_of(const Transaction* transaction):
    return PyBytes_FromStringAndSize(<const char*>transaction.gtid, transaction.gtid_size).decode()
