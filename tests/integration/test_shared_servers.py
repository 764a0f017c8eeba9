"""The servers that many tests share tell of themselves when they crash, so that it is one test's failure and not all's."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL


@pytest.mark.parametrize("kind", [MariaDB, PostgreSQL])
def test_a_server_that_crashed_says_so_and_starts_again(tmp_path: Path, kind: type[MariaDB] | type[PostgreSQL]) -> None:
    with kind.start(tmp_path / "server") as server:
        assert server.ended_by_itself() == ""
        os.kill(server.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while not (told := server.ended_by_itself()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert told.startswith("exit code -9\n")
        assert "ready" in told  # its log
        server.restart()
        assert server.ended_by_itself() == ""
        assert server.execute("SELECT 1") == [(1,)]
        server.kill()
        assert server.ended_by_itself() == ""
