"""Private servers, one per test run and only when a test asks for them, and a harness per dialect for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.contract.harness import SourceHarness
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

# no test asserts a time: a busy machine draws examples slowly, and is right to
settings.register_profile("forebay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forebay")

DIALECTS = ("sqlite", "mysql", "postgresql")
_SHARED: list[MariaDB | PostgreSQL] = []  # that this process's tests use


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB.start(tmp_path_factory.mktemp("mariadb")) as server:
        _SHARED.append(server)
        yield server
        _SHARED.remove(server)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    with PostgreSQL.start(tmp_path_factory.mktemp("postgresql")) as server:
        _SHARED.append(server)
        yield server
        _SHARED.remove(server)


@pytest.fixture(autouse=True)
def _servers_live_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """A server that crashed is its test's failure, with what the server said, and nobody else's: it is started again."""
    yield
    for server in _SHARED:
        told = server.ended_by_itself()
        if told:
            server.restart()
            pytest.fail(f"{type(server).__name__} ended in the middle of {request.node.nodeid}: {told}", pytrace=False)


@pytest.fixture
def sqlite_harness(tmp_path: Path) -> Iterator[SourceHarness]:
    from tests.contract.sources.sqlite import SQLiteHarness

    harness = SQLiteHarness(tmp_path)
    yield harness
    harness.close()


@pytest.fixture
def mysql_harness(mariadb: MariaDB) -> Iterator[SourceHarness]:
    from tests.contract.sources.mysql import MySQLHarness

    harness = MySQLHarness(mariadb)
    yield harness
    harness.close()


@pytest.fixture
def postgresql_harness(postgresql: PostgreSQL) -> Iterator[SourceHarness]:
    from tests.contract.sources.postgresql import PostgreSQLHarness

    harness = PostgreSQLHarness(postgresql)
    yield harness
    harness.close()


@pytest.fixture(params=DIALECTS)
def source_harness(request: pytest.FixtureRequest) -> SourceHarness:
    """Each dialect in turn, on its real server."""
    harness: SourceHarness = request.getfixturevalue(f"{request.param}_harness")
    return harness
