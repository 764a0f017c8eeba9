"""What a server says of its log: settings, files, where it ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from forebay_agent.capture.mysql import describe
from forebay_agent.capture.mysql.log.checkpoint import MARIADB, MYSQL, LogCheckpoint, Place
from forebay_agent.capture.mysql.session import Session
from forebay_agent.errors import LogUnfit, PrivilegeMissing, SourceError

_SETTINGS: Final = (
    *("log_bin", "binlog_format", "binlog_row_image", "binlog_row_metadata", "binlog_row_value_options", "gtid_mode"),
    *("expire_logs_days", "binlog_expire_logs_seconds", "binlog_expire_logs_auto_purge", "max_binlog_total_size"),
    *("lower_case_table_names", "server_id"),
)
_NEWER_NAMES: Final = (8, 2)
"""from this version of MySQL on statements speak of BINARY LOG instead of MASTER"""


class LogServer:
    """identity: `Source.identity`."""

    def __init__(self, session: Session, identity: str) -> None:
        self.session = session
        self.identity = identity
        self.mariadb = session.mariadb
        self._settings: dict[str, str] | None = None

    @property
    def flavor(self) -> str:
        return MARIADB if self.mariadb else MYSQL

    @property
    def by_gtid(self) -> bool:
        """MySQL: whether a place is a set of GTIDs."""
        return not self.mariadb and self.setting("gtid_mode").upper() == "ON"

    def setting(self, name: str) -> str:
        """A global variable's value as it was when first asked; empty where the server has none of that name."""
        if self._settings is None:
            listed = ", ".join(f"'{name}'" for name in _SETTINGS)
            rows = self.session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({listed})")
            self._settings = {str(name).lower(): str(value) for name, value in rows}
        return self._settings.get(name, "")

    def anew(self) -> None:
        """Settings are asked for again."""
        self._settings = None

    def end(self, *, exactly: bool = True) -> Place:
        """Where the log ends now. exactly: with the GTIDs before it, for which MariaDB has to read the file.

        Raises LogUnfit when there is no log, PrivilegeMissing with the GRANT.
        """
        newer = not self.mariadb and self._version() >= _NEWER_NAMES
        rows = self._monitored("SHOW BINARY LOG STATUS" if newer else "SHOW MASTER STATUS")
        if not rows:
            raise no_log()
        file, offset = str(rows[0][0]), int(rows[0][1])
        if not self.mariadb:
            return Place(file, offset, str(rows[0][4] or "").replace("\n", ""))
        return Place(file, offset, self.gtid_at(file, offset) or "" if exactly else "")

    def gtid_at(self, file: str, offset: int) -> str | None:
        """MariaDB: what stands before an offset, None when that is no place in its log."""
        rows = self.session.rows("SELECT BINLOG_GTID_POS(%s, %s)", file, offset, doing="looking up a place in the log")
        return None if rows[0][0] is None else str(rows[0][0])

    def files(self) -> list[tuple[str, int]]:
        """(name, size), oldest first. Raises LogUnfit when there is no log, PrivilegeMissing with the GRANT."""
        return [(str(row[0]), int(row[1])) for row in self._monitored("SHOW BINARY LOGS")]

    def checkpoint(self, place: Place) -> LogCheckpoint:
        return LogCheckpoint(self.identity, self.flavor, place)

    def grants(self) -> str:
        """What the user needs to read the log."""
        monitor = "BINLOG MONITOR" if self.mariadb and self._version() >= (10, 5) else "REPLICATION CLIENT"
        return f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO {describe.grantee(self.session.user)};"

    def _monitored(self, statement: str) -> Sequence[tuple[Any, ...]]:
        try:
            return self.session.rows(statement, doing="asking for the log's files")
        except PrivilegeMissing as error:
            raise PrivilegeMissing(str(error), remedy="Ask the DBA to run this.", sql=self.grants()) from error
        except SourceError as error:
            if self.setting("log_bin").upper() == "OFF":
                raise no_log() from error
            raise

    def _version(self) -> tuple[int, ...]:
        found = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)", self.session.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def no_log() -> LogUnfit:
    return LogUnfit(
        "the server writes no binary log (log_bin is OFF)",
        remedy="Ask the DBA to put `log_bin` and `binlog_format = ROW` into the server's configuration and to restart it.",
    )
