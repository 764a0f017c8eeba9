"""Opens a connection: addresses, TLS, the password, and the SQLSTATE of a refusal.

libpq tells no SQLSTATE of a refused connection, and psycopg passes on only the text, which is in the server's language.
So the handshake is driven here, with libpq asked to begin its messages with the SQLSTATE. Names are resolved first,
because libpq would do it while no other thread can run.
"""

from __future__ import annotations

import re
import select
import socket
import time
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from forebay_agent.capture.postgresql import libpq
from forebay_agent.capture.postgresql.sqlstate import refusal
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError, SourceDenied, SourceError, SourceUnreachable

APPLICATION: Final = "forebay-agent"
PORT: Final = 5432
OLDEST_VERSION: Final = 100_000
_SSLMODES: Final = {"off": "disable", "preferred": "prefer", "required": "require", "verify": "verify-full"}
_STATE: Final = re.compile(
    r": +[^:\s]+: +([0-9A-Z]{5}): +(.*)"
)  # after the severity, which is in the server's language


def connect(config: SourceConfig, **parameters: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection in autocommit. parameters: of libpq's own, over those of the configuration.

    Raises SourceUnreachable, SourceDenied, SourceError; ConfigurationError for a secret.
    """
    deadline = time.monotonic() + max(config.connect_timeout.total_seconds(), 1.0)
    pgconn = pq.PGconn.connect_start(_conninfo(config, parameters).encode())
    libpq.set_verbosity(pgconn, libpq.VERBOSE)
    try:
        _shake_hands(pgconn, config, deadline)
    except BaseException:
        pgconn.finish()
        raise
    libpq.set_verbosity(pgconn, libpq.DEFAULT)
    pgconn.nonblocking = 1
    connection: psycopg.Connection[tuple[Any, ...]] = psycopg.Connection(pgconn)
    connection.autocommit = True
    connection.prepare_threshold = None  # poolers between may give each statement another session
    if connection.info.server_version < OLDEST_VERSION:
        connection.close()
        raise SourceError(f"{place(config)}: PostgreSQL 10 or later is needed", remedy="Upgrade the database.")
    return connection


def place(config: SourceConfig) -> str:
    return f"postgresql at {config.socket or config.host}:{config.port or PORT}"


def _conninfo(config: SourceConfig, over: dict[str, str]) -> str:
    parameters: dict[str, str | int] = {
        "port": config.port or PORT,
        "user": config.user,
        "dbname": config.database,
        "application_name": APPLICATION,
        "sslmode": _SSLMODES[config.tls],
        "gssencmode": "disable",
        # a peer that is gone without a word is noticed within a minute
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    if config.password is not None:
        parameters["password"] = config.password.reveal()
    if config.tls == "verify":
        parameters["sslrootcert"] = str(config.tls_ca) if config.tls_ca else "system"
    if config.socket:
        parameters["host"] = config.socket
    else:
        addresses = _addresses(config)
        parameters["host"] = ",".join([config.host] * len(addresses))
        parameters["hostaddr"] = ",".join(addresses)
    return make_conninfo("", **parameters | over)


def _addresses(config: SourceConfig) -> list[str]:
    try:
        found = socket.getaddrinfo(config.host, config.port or PORT, type=socket.SOCK_STREAM)
    except OSError as error:
        raise SourceUnreachable(f"{place(config)}: the name cannot be resolved: {error.strerror}") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _shake_hands(pgconn: pq.abc.PGconn, config: SourceConfig, deadline: float) -> None:
    while pgconn.status != pq.ConnStatus.BAD:
        status = pgconn.connect_poll()
        if status == pq.PollingStatus.OK:
            return
        if status == pq.PollingStatus.FAILED:
            break
        left = deadline - time.monotonic()
        waiting = select.poll()
        waiting.register(pgconn.socket, select.POLLIN if status == pq.PollingStatus.READING else select.POLLOUT)
        if left <= 0 or not waiting.poll(left * 1000):
            raise SourceUnreachable(f"{place(config)}: no answer within {config.connect_timeout.total_seconds():g} s")
    raise _refused(pgconn, config)


def _refused(pgconn: pq.abc.PGconn, config: SourceConfig) -> AgentError:
    message = pgconn.get_error_message("utf-8")
    told = _STATE.search(message)
    if told is not None:
        return refusal(told[1], told[2], place(config))
    if pgconn.needs_password:
        return SourceDenied(f"{place(config)}: a password is asked for and none is configured")
    reason = message.strip().partition("\n")[0]
    return SourceUnreachable(f"{place(config)}: {reason}")
