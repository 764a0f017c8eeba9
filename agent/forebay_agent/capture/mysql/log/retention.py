"""How long the server keeps the log that was not captured yet."""

from __future__ import annotations

import time
from typing import Final

from forebay_agent.capture.log import Retention
from forebay_agent.capture.mysql.log.checkpoint import LogCheckpoint, Place, number_of
from forebay_agent.capture.mysql.log.connection import LogConnection
from forebay_agent.capture.mysql.log.server import LogServer
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError
from forebay_agent.kernel import binlog

_DAY_SECONDS: Final = 86_400
_HOUR_SECONDS: Final = 3_600
_PATIENCE_SECONDS: Final = 10.0
_FIRST_OFFSET: Final = 4
_FORMAT_DESCRIPTION: Final = 15


class KeptLog:
    """Asks one server; remembers when its files were begun."""

    def __init__(self, config: SourceConfig, server: LogServer) -> None:
        self._config = config
        self._server = server
        self._begun: dict[str, int] = {}

    def retention(self, text: str) -> Retention:
        """See `LogSource.retention`."""
        place = LogCheckpoint.parse(text).start
        self._server.anew()
        files = self._server.files()
        order = place.order
        behind = sum(size for name, size in files if number_of(name) > order[0])
        behind += sum(max(0, size - place.offset) for name, size in files if name == place.file)
        if not files or number_of(files[0][0]) > order[0]:
            return Retention(0.0, behind, f"the server no longer has {place.file}")
        seconds = self._seconds()
        if self._server.setting("max_binlog_total_size") not in ("", "0"):
            return Retention(None, behind, "the server keeps its log up to a size (max_binlog_total_size)")
        if not seconds:
            return Retention(None, behind, "the server keeps its log until someone purges it")
        reason = f"the server keeps its log for {seconds / _HOUR_SECONDS:g} hours"
        if files[-1][0] == place.file:
            return Retention(seconds / _HOUR_SECONDS, behind, reason)
        following = next(name for name, _ in files if number_of(name) > order[0])
        left = self._ended(following, place) + seconds - self._now()
        return Retention(max(0.0, left / _HOUR_SECONDS), behind, reason)

    def _seconds(self) -> float:
        """0: for ever."""
        if self._server.setting("binlog_expire_logs_auto_purge").upper() == "OFF":
            return 0.0
        seconds = float(self._server.setting("binlog_expire_logs_seconds") or 0)
        return seconds or float(self._server.setting("expire_logs_days") or 0) * _DAY_SECONDS

    def _now(self) -> float:
        return float(self._server.session.rows("SELECT UNIX_TIMESTAMP()")[0][0])

    def _ended(self, following: str, place: Place) -> int:
        """When a file was written last: when the next one was begun."""
        if following not in self._begun:
            try:
                self._begun = {following: self._format_of(following)}
            except AgentError:
                return place.created
        return self._begun[following]

    def _format_of(self, file: str) -> int:
        """The time of a file's first event. Raises SourceUnreachable, PrivilegeMissing, SourceError."""
        connection = LogConnection(self._config, mariadb=self._server.mariadb, purpose="retention")
        try:
            connection.start(Place(file, _FIRST_OFFSET), to_the_end=True)
            scanner = binlog.LogScanner()
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while time.monotonic() < deadline:
                connection.feed(scanner)
                if scanner.stop == binlog.EVENT and scanner.event_type == _FORMAT_DESCRIPTION:
                    return scanner.event_timestamp
                if scanner.stop in (binlog.ENDED, binlog.REFUSED):
                    break
                if scanner.stop == binlog.MORE:
                    connection.receive(scanner.wanted, deadline)
            raise AgentError(f"{file} does not say when it was begun")
        except (ValueError, OverflowError) as error:
            raise AgentError(f"{file} does not say when it was begun") from error
        finally:
            connection.close()
