"""`python -m tests.servers mariadb -- COMMAND …` runs a command beside a private server that lives as long as it.

The command gets `--dialect`, `--port`, `--user` and `--password-file` at its end; `sqlite` starts no server.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL


def main(arguments: list[str]) -> int:
    if len(arguments) < 3 or arguments[1] != "--" or arguments[0] not in ("sqlite", "mariadb", "postgresql"):
        print(__doc__, file=sys.stderr)
        return 2
    dialect, command = arguments[0], arguments[2:]
    if dialect == "sqlite":
        return _run([*command, "--dialect", dialect])
    with tempfile.TemporaryDirectory(prefix="forebay-server-") as folder:
        start = MariaDB.start if dialect == "mariadb" else PostgreSQL.start
        with start(Path(folder) / "server") as server:
            password = Path(folder) / "password"
            password.touch(0o600)
            password.write_text(server.password, "utf-8")
            access = ["--port", str(server.port), "--user", server.user, "--password-file", str(password)]
            return _run([*command, "--dialect", dialect, *access])


def _run(command: list[str]) -> int:
    """The command's exit code. Ctrl-C is the command's own matter: it ends what it began, and so do we then."""
    with subprocess.Popen(command) as process:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
