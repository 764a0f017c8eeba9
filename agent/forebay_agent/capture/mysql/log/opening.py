"""Where reading begins: whether the server still holds what a checkpoint asks for, and whether it is the same log.

A place is a file and an offset, and what stands before it by GTID. On MariaDB both must agree, so that a log which was begun
anew is noticed; MySQL with GTIDs goes by them alone. A file that is gone is no loss where nothing stood in it any more.
"""

from __future__ import annotations

from forebay_agent.capture.mysql.log.checkpoint import LogCheckpoint, Place, number_of
from forebay_agent.capture.mysql.log.gtids import Executed
from forebay_agent.capture.mysql.log.server import LogServer, no_log
from forebay_agent.errors import LogGap, LogUnfit, LogUnreadable, SourceReplaced

_FIRST_OFFSET = 4


def opened_at(server: LogServer, text: str | None) -> LogCheckpoint:
    """The checkpoint to begin at; None: at the log's end.

    Raises LogUnfit, SourceReplaced, LogGap, LogUnreadable (a damaged checkpoint), PrivilegeMissing.
    """
    server.anew()
    refuse_unfit(server)
    if text is None:
        return server.checkpoint(server.end())
    checkpoint = LogCheckpoint.parse(text)
    refuse_another(server, checkpoint)
    place = _held(server, checkpoint.start)
    if checkpoint.prepared is not None:
        return checkpoint.at(checkpoint.place, place)
    return checkpoint.at(place, None)


def refuse_unfit(server: LogServer) -> None:
    """Raises LogUnfit with the SQL that cures it."""
    if server.setting("log_bin").upper() != "ON":
        raise no_log()
    for name, wanted in (("binlog_format", "ROW"), ("binlog_row_image", "FULL"), ("binlog_row_value_options", "")):
        value = server.setting(name)
        if value.upper() != wanted and (value or name == "binlog_format"):
            raise LogUnfit(
                f"the server's {name} is {value}: its log does not hold whole rows",
                remedy="Ask the DBA to run this, to set it in the server's configuration too, and to end connections that "
                "were open before.",
                sql=f"SET GLOBAL {name} = '{wanted}';",
            )


def refuse_another(server: LogServer, checkpoint: LogCheckpoint) -> None:
    """Raises SourceReplaced."""
    if (checkpoint.server, checkpoint.flavor) != (server.identity, server.flavor):
        raise SourceReplaced(f"the log was read from server {checkpoint.server}; this is server {server.identity}")


def gap(server: LogServer, place: Place, first: str) -> LogGap:
    """What stood between a place and where the log begins now is gone."""
    return LogGap(
        f"the log at {server.session.where} does not hold what follows {place}: there is a gap from {place} to {first}",
        remedy="Take the tables anew: `forebay-agent snapshot STREAM --reason …`; ask the DBA to keep the log for longer "
        "(binlog_expire_logs_seconds).",
    )


def begun_anew(server: LogServer, place: Place, what: str) -> LogGap:
    """It is not the log that was read before."""
    return LogGap(
        f"the log at {server.session.where} is not the one that was read up to {place}: {what} (RESET MASTER, or a copy of the "
        "server): the gap is from there to its end as it is now",
        remedy="Take the tables anew: `forebay-agent snapshot STREAM --reason …`.",
    )


def _held(server: LogServer, place: Place) -> Place:
    """The place, or the beginning of the next file where nothing more stood in its own. Raises LogGap."""
    if server.by_gtid and place.gtid:
        return _held_by_gtid(server, place)
    files = server.files()
    if not files:
        raise no_log()
    try:
        numbers = [number_of(name) for name, _ in files]
        wanted = number_of(place.file)
    except ValueError as error:
        raise LogUnreadable(f"the log at {server.session.where}: {error}") from None
    size = dict(files).get(place.file)
    if size is not None:
        return _same(server, place, size)
    first = files[0][0]
    if wanted > numbers[-1] or wanted >= numbers[0]:
        raise begun_anew(server, place, f"it has no file {place.file}")
    before = server.gtid_at(first, _FIRST_OFFSET) if server.mariadb else None
    if before is None or before != place.gtid or not place.gtid:
        raise gap(server, place, f"{before}@{first}:{_FIRST_OFFSET}" if before else f"{first}:{_FIRST_OFFSET}")
    return Place(first, _FIRST_OFFSET, place.gtid)


def _same(server: LogServer, place: Place, size: int) -> Place:
    if place.offset > size:
        raise begun_anew(server, place, f"{place.file} ends at {size}")
    if server.mariadb and place.gtid and server.gtid_at(place.file, place.offset) != place.gtid:
        raise begun_anew(server, place, "other transactions stand there")
    return place


def _held_by_gtid(server: LogServer, place: Place) -> Place:
    rows = server.session.rows("SELECT @@global.gtid_executed, @@global.gtid_purged", doing="asking for GTIDs")
    executed, purged = (Executed(str(value)) for value in rows[0])
    read = Executed(place.gtid)
    if not read.contains(purged):
        raise gap(server, place, f"the transactions {read.lacking(purged)}, which are gone")
    if not executed.contains(read):
        raise begun_anew(server, place, f"it never held {executed.lacking(read)}")
    return place
