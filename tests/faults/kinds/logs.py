"""Logs that no longer hold what was not captured. The streams are held with FB-LOG-GAP; the remedy takes the tables anew."""

from __future__ import annotations

from typing import Final

from tests.faults.captured import captured_until
from tests.faults.fault import Fault


class _Gap(Fault):
    by_hand = True

    def _look(self) -> None:
        """Right before the gap, for then it is too late."""
        self.captured = self.patiently(lambda: captured_until(self.fleet, self.place, outbox=True))

    def heal(self) -> None:
        self.member.start()
        for table in self.department.tables:
            state = self.wait(
                lambda table=table: (each := self.state(table)).get("code") == "FB-LOG-GAP" and each,  # type: ignore[misc]
                f"{table.name} held with FB-LOG-GAP",
            )
            self.obey(state)
        for table in self.department.tables:
            self.wait(
                lambda table=table: self.state(table).get("state") == "streaming",  # type: ignore[misc]
                f"{table.name} taken anew",
            )


class PurgedBinlog(_Gap):
    """The files of the binary log that hold what the agent has not read are purged."""

    name = "purged binlog"
    on = ("mariadb",)

    def inject(self) -> None:
        self.member.kill()
        self._look()
        self._before = self._files()
        self.wait(lambda: self._written() > 2, "anything written to the log", 60)
        self.department.execute("FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
        self.wait(self._purged, "purged", 60)

    def struck(self) -> str:
        return f"{', '.join(self._before)} purged, {self._first()} is the first"

    def _written(self) -> int:
        """Changes since the agent died: without one there is no gap."""
        writer = self.fleet.writers[self.place]
        self._since = getattr(self, "_since", writer.transactions)
        return writer.transactions - self._since

    def _purged(self) -> bool:
        self.department.execute(f"PURGE BINARY LOGS TO '{self._files()[-1]}'")
        return not set(self._files()) & set(self._before)

    def _files(self) -> list[str]:
        return [str(row[0]) for row in self.department.execute("SHOW BINARY LOGS")]

    def _first(self) -> str:
        return self._files()[0]


class DroppedSlot(_Gap):
    """The replication slot is dropped, whoever reads from it."""

    name = "dropped slot"
    on = ("postgresql",)

    def inject(self) -> None:
        self._slots: list[str] = []
        self.wait(self._dropped, "dropped", 60)

    def struck(self) -> str:
        return f"slot {', '.join(sorted(set(self._slots)))} dropped"

    def _dropped(self) -> bool:
        self._look()
        slots = self.department.execute("SELECT slot_name FROM pg_replication_slots")
        for (slot,) in slots:
            self._slots.append(str(slot))
            try:
                self.department.execute(
                    f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'",
                    f"SELECT pg_drop_replication_slot('{slot}')",
                )
            except self.department.failures:  # its reader came back in between
                return False
        return bool(self._slots)


KINDS: Final = (PurgedBinlog, DroppedSlot)
