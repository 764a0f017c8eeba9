"""Reads one file of `sources.d/`: the source at the file's top, then one `[[table]]` for each table."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from forebay_agent.config import model
from forebay_agent.config.section import Section
from forebay_agent.config.table_entry import read_table
from forebay_wire import canary, limits

_SERVER_KEYS: Final = ("host", "port", "socket", "database", "user", "password", "tls", "tls_ca", "connect_timeout")
_OTHER_NAMES: Final = {"mariadb": "mysql", "postgres": "postgresql", "pgsql": "postgresql", "sqlite3": "sqlite"}
_ONLY_OF_KIND: Final = {"slot": "postgresql", "publication": "postgresql", "server_id": "mysql"}
_SLOT_NAME: Final = re.compile(r"[a-z0-9_]{1,63}", re.ASCII)
_OWN_SCHEMA: Final = {"sqlite": "main", "postgresql": "public"}


def read_source(top: Section) -> model.SourceConfig | None:
    """The source that a file describes; None when its kind is not known. Problems go to the section's collection."""
    name = top.text("name", top.file.stem)
    if not name or "/" in name or len(name.encode()) > limits.MAX_NAME_BYTES:
        top.refuse(
            "name",
            f"{name!r} cannot name a source: it is empty, too long or holds '/'",
            "Use a short name such as `civil_affairs`.",
        )
    kind = _read_kind(top)
    tables = top.sections("table", model.meanings(model.TableConfig))
    path = top.path("path")
    host, socket = top.text("host", "127.0.0.1"), top.text("socket")
    if set(host) & set("/@ "):
        top.refuse("host", "is not a host name", "Write only the host; user, port and database have keys of their own.")
    source = model.SourceConfig(
        name=name,
        kind=kind,
        file=str(top.file),
        path=path,
        host=host,
        port=top.integer("port", 0, 1, 65535),
        socket=socket,
        database=top.text("database"),
        user=top.text("user"),
        password=top.secret("password"),
        charset=top.text("charset"),
        slot=top.text("slot"),
        publication=top.text("publication"),
        server_id=top.integer("server_id", 0, 1, (1 << 32) - 1),
        tls=top.text("tls", "preferred", choices=model.TLS_MODES),
        tls_ca=top.path("tls_ca"),
        statement_timeout=top.duration("statement_timeout", timedelta(seconds=300), least=timedelta(seconds=1)),
        connect_timeout=top.duration("connect_timeout", timedelta(seconds=10), least=timedelta(seconds=1)),
        poll_interval=top.duration("poll_interval", timedelta(seconds=1), least=timedelta(milliseconds=10)),
        batch_rows=top.integer("batch_rows", 25_000, 1, limits.MAX_ROWS),
        linger=top.duration("linger", timedelta(milliseconds=100)),
        chunk_time=top.duration("chunk_time", timedelta(seconds=1), least=timedelta(milliseconds=10)),
        max_rows_per_second=top.integer("max_rows_per_second", 0, 0, 1 << 31),
        snapshot_windows=top.windows("snapshot_windows"),
        paused=top.flag("paused", False),
        canary=_read_canary(top.section("canary", model.meanings(model.CanaryConfig))),
        tables=tuple(table for entry in tables if (table := read_table(entry)) is not None),
    )
    top.finish()
    if not kind:
        return None
    _refuse_what_does_not_fit(top, source)
    _refuse_of_log(top, source)
    _refuse_same_tables(top, source)
    _refuse_canary(top, source)
    if not tables and not top.content.get("table"):
        top.refuse("table", "no table is named", 'Add at least one `[[table]]` with `name = "schema.table"`.')
    return source


def _read_kind(top: Section) -> str:
    written = top.content.get("kind")
    if isinstance(written, str) and written in _OTHER_NAMES:
        top.text("kind")
        top.refuse("kind", f"{written!r} is not known; did you mean `{_OTHER_NAMES[written]}`?", "Correct the kind.")
        return ""
    return top.text("kind", required=True, choices=model.SOURCE_KINDS)


def _read_canary(section: Section) -> model.CanaryConfig:
    default = model.CanaryConfig()
    read = model.CanaryConfig(
        kind=section.text("kind", default.kind, choices=model.CANARY_KINDS),
        every=section.duration("every", default.every, least=timedelta(seconds=1)),
        table=section.text("table"),
    )
    section.finish()
    if read.kind == "row" and not read.table:
        section.refuse("table", "is missing: kind `row` writes a row of it", "Name the table that the DBA made for it.")
    if read.table and read.kind not in ("auto", "row"):
        section.refuse("table", f"is not used with kind = {read.kind!r}", "Remove it, or set `kind` to row.")
    return read


def _refuse_canary(top: Section, source: model.SourceConfig) -> None:
    """What its kind needs, and the name that its stream has."""
    if source.canary.kind == "message" and (
        source.kind != "postgresql" or all(table.mode != "log" for table in source.tables)
    ):
        top.refuse(
            "canary.kind",
            "messages stand in the log of PostgreSQL only, and no table of this source is read from it",
            "Use auto, row or read, or capture a table of a postgresql source in mode log.",
        )
    for table in source.tables:
        if table.name == canary.TABLE:
            top.refuse(
                f"{table.entry}.name",
                f"{table.name} is the name of the stream that carries the canary",
                "Share a view with another name.",
            )


def _refuse_what_does_not_fit(top: Section, source: model.SourceConfig) -> None:
    if source.kind == "sqlite":
        for key in _SERVER_KEYS:
            if top.has(key):
                top.refuse(key, "does not belong to a source of kind sqlite", "Remove it: a SQLite source is a file.")
        if source.path is None and not top.has("path"):
            top.refuse("path", "is missing", 'Add `path = "/path/to/database.db"`.')
        return
    if top.has("path"):
        top.refuse("path", f"does not belong to a source of kind {source.kind}", "Remove it; `host` names the server.")
    if not source.user and not top.has("user"):
        top.refuse("user", "is missing", "Name the read-only database user that the DBA made for Forebay.")
    if source.socket and top.has("host"):
        top.refuse("socket", "stands beside `host`", "Keep one of them.")
    if source.kind == "postgresql" and not source.database and not top.has("database"):
        top.refuse("database", "is missing", "Name the database: a PostgreSQL session sees one database.")
    if source.kind == "mysql" and not source.database:
        for table in source.tables:
            if "." not in table.name:
                top.refuse(
                    table.entry + ".name",
                    f"{table.name!r} names no database and `database` is not set",
                    f'Write `name = "DATABASE.{table.name}"`, or set `database` at the top of the file.',
                )
    _refuse_tls(top, source)


def _refuse_of_log(top: Section, source: model.SourceConfig) -> None:
    for key, kind in _ONLY_OF_KIND.items():
        if top.has(key) and source.kind != kind:
            top.refuse(key, f"does not belong to a source of kind {source.kind}", "Remove it.")
    if source.slot and not _SLOT_NAME.fullmatch(source.slot):
        top.refuse("slot", "is no name of a replication slot", "Use at most 63 small letters, digits and underscores.")


def _refuse_tls(top: Section, source: model.SourceConfig) -> None:
    if source.tls_ca is None:
        return
    if source.tls != "verify":
        top.refuse("tls_ca", f"is not used with tls = {source.tls!r}", 'Set `tls = "verify"`, or remove `tls_ca`.')
        return
    try:
        with source.tls_ca.open("rb") as stream:
            is_certificate = b"-----BEGIN CERTIFICATE-----" in stream.read(1 << 20)
    except OSError as error:
        top.refuse("tls_ca", f"{source.tls_ca} cannot be read: {error.strerror}", "Name the CA's certificate file.")
        return
    if not is_certificate:
        top.refuse("tls_ca", f"{source.tls_ca} holds no certificate", "Name the CA's certificate in PEM form.")


def _refuse_same_tables(top: Section, source: model.SourceConfig) -> None:
    """Two entries of one table would write one stream twice."""
    own = _OWN_SCHEMA.get(source.kind, source.database)
    first: dict[str, str] = {}
    for table in source.tables:
        full = table.name if "." in table.name else f"{own}.{table.name}"
        if full in first:
            top.refuse(
                f"{table.entry}.name",
                f"duplicate stream: table {table.name!r} is already named by {first[full]}",
                "Keep one entry for each table.",
            )
        first.setdefault(full, table.entry)
