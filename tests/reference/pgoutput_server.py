"""A replication connection to a real PostgreSQL, by libpq alone."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from psycopg import pq
from psycopg.pq.abc import PGconn

from tests.servers.postgresql import PostgreSQL

SETTINGS: Final = "-c datestyle=ISO,YMD -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=3 -c bytea_output=hex -c lc_monetary=C"
_SECONDS: Final = 30.0


class Replication:
    """Makes a publication of all tables and a slot of the same name; `start` begins the stream, from the slot's beginning."""

    def __init__(self, server: PostgreSQL, database: str, name: str = "followed") -> None:
        self.server = server
        self.database = database
        self.name = name
        self.pgconn: PGconn
        server.execute(f"CREATE PUBLICATION {name} FOR ALL TABLES", database=database)
        server.execute(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')", database=database)

    def start(self, version: int = 1, **options: str) -> PGconn:
        """The connection in state COPY BOTH."""
        conninfo = self.server.conninfo(dbname=self.database, replication="database", options=SETTINGS)
        self.pgconn = pq.PGconn.connect(conninfo.encode())
        assert self.pgconn.status == pq.ConnStatus.OK, self.pgconn.error_message
        given = {"proto_version": str(version), "publication_names": self.name, **options}
        text = ", ".join(f"{option} '{value}'" for option, value in given.items())
        result = self.pgconn.exec_(f"START_REPLICATION SLOT {self.name} LOGICAL 0/0 ({text})".encode())
        assert result.status == pq.ExecStatus.COPY_BOTH, self.pgconn.error_message
        return self.pgconn

    def end(self) -> int:
        """The log's end as it is now."""
        ((lsn,),) = self.server.execute("SELECT (pg_current_wal_lsn() - '0/0')::bigint", database=self.database)
        assert isinstance(lsn, int)
        return lsn

    def messages(self) -> list[tuple[int, bytes]]:
        """(LSN, pgoutput message) of everything committed by now."""
        target = self.end()
        taken: list[tuple[int, bytes]] = []
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            size, data = self.pgconn.get_copy_data(1)
            if size > 0:
                message = bytes(data)
                if message[:1] == b"w":
                    taken.append((int.from_bytes(message[1:9]), message[25:]))
                elif int.from_bytes(message[1:9]) >= target:
                    return taken
                continue
            assert size == 0, self.pgconn.error_message
            time.sleep(0.002)
            self.pgconn.consume_input()
        raise AssertionError("the log's end did not come")

    def close(self) -> None:
        if hasattr(self, "pgconn"):
            self.pgconn.finish()
        for _ in range(200):  # the server notices the lost connection a little later
            active = self.server.execute(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{self.name}'")
            if active == [(False,)]:
                break
            time.sleep(0.02)
        self.server.execute(
            f"SELECT pg_drop_replication_slot('{self.name}')", f"DROP PUBLICATION {self.name}", database=self.database
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
