"""Databases that restart, drop whoever replicates from them, or change a table's columns."""

from __future__ import annotations

from typing import Final

from tests.faults.departments import InMariaDB, InPostgreSQL
from tests.faults.fault import AGENTS, Fault

_SERVERS: Final = ("mariadb", "postgresql")


class DatabaseRestart(Fault):
    """The server dies by SIGKILL, or ends in order, and comes back."""

    name = "database restart"
    on = _SERVERS

    def inject(self) -> None:
        self._pid = self._server.server.pid
        if self.draw.random() < 0.5:
            self._server.server.kill()

    def struck(self) -> str:
        return f"pid {self._pid} ended"

    def heal(self) -> None:
        with self._server.namespace.inside():
            self._server.server.restart()

    @property
    def _server(self) -> InMariaDB | InPostgreSQL:
        assert isinstance(self.department, InMariaDB | InPostgreSQL)
        return self.department


class LostReplication(Fault):
    """The server ends the connection that its log is read from, again and again."""

    name = "lost replication connection"
    on = _SERVERS

    def inject(self) -> None:
        self._ended = 0

    def struck(self) -> str:
        if self.place == "mariadb":
            for (number,) in self.department.execute(
                "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
            ):
                try:
                    self.department.execute(f"KILL {number}")
                    self._ended += 1
                except self.department.failures:  # it had ended by itself
                    continue
        else:
            self._ended += len(
                self.department.execute(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
                )
            )
        return f"{self._ended} connections ended" if self._ended else ""

    def heal(self) -> None:
        pass


class SchemaChange(Fault):
    """A column is added to a table, or one that was added is dropped again, while the table is written to. SQLite refuses to
    drop a column that a trigger names: there only the DBA could, without Forebay's triggers."""

    name = "schema change"
    on = AGENTS

    def inject(self) -> None:
        table = self.draw.choice(self.department.tables)
        name = self.department.sql_name(table)
        added = self.department.added.setdefault(table.name, [])
        if added and table.mode != "trigger" and self.draw.random() < 0.4:
            self._statement = f"ALTER TABLE {name} DROP COLUMN {added.pop()}"
        else:
            added.append(f"extra_{self.draw.randrange(10**6)}")
            self._statement = f"ALTER TABLE {name} ADD COLUMN {added[-1]} INTEGER"
        self.department.execute(self._statement)

    def struck(self) -> str:
        return self._statement

    def heal(self) -> None:
        pass


KINDS: Final = (DatabaseRestart, LostReplication, SchemaChange)
