"""The invariants, end to end: real processes, real TLS, real files."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

from forebay_collector.archive.file import parse
from forebay_collector.demo.departments import Department
from forebay_collector.demo.fleet import Fleet, Site
from forebay_wire.stream import StreamName
from tests.end_to_end.conftest import (
    SMALL_ENTERPRISES,
    SMALL_LOW_INCOME,
    agent,
    agent_status,
    assert_equal,
    canary,
    collector,
)
from tests.end_to_end.proxy import Proxy

SiteOf = Callable[[Department], Site]


def test_a_committed_row_appears_in_the_platform_once(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    fleet.start()
    site.writer.start()
    time.sleep(3)
    site.writer.stop()
    assert site.writer.changes > 20
    assert_equal(fleet)


def test_kill_9_at_any_moment_neither_loses_nor_doubles_a_row(fleet: Fleet, site_of: SiteOf) -> None:
    sites = [site_of(SMALL_ENTERPRISES), site_of(SMALL_LOW_INCOME)]
    fleet.start()
    for site in sites:
        site.writer.start()
    draw = random.Random(20261123)
    marks: dict[str, tuple[int, int]] = {}
    for _ in range(6):
        time.sleep(draw.uniform(0.1, 1.2))
        victim = draw.choice(fleet.daemons)
        victim.kill()
        time.sleep(draw.choice((0.0, 0.5)))
        victim.start()
        _never_backwards(fleet, marks)
    for site in sites:
        site.writer.stop()
    assert_equal(fleet, 60)
    _never_backwards(fleet, marks)
    assert marks


def _never_backwards(fleet: Fleet, marks: dict[str, tuple[int, int]]) -> None:
    """Invariant 4: progress never moves backwards."""
    for stream in json.loads(collector(fleet, "streams", "--json").stdout):
        for kind in ("durable", "loaded"):
            epoch, seq = map(int, stream[kind].split("/"))
            before = marks.get(stream["stream"] + kind, (0, 0))
            assert (epoch, seq) >= before
            marks[stream["stream"] + kind] = (epoch, seq)


def test_a_lost_acknowledgement_never_doubles_a_row(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    with Proxy(fleet.port) as proxy:
        with (site.home / "agent.toml").open("a", encoding="utf-8") as file:
            file.write(f'\n[collector]\naddresses = ["127.0.0.1:{proxy.port}"]\n')
        fleet.start()
        site.writer.start()
        for _ in range(4):
            _await_more(lambda: _state_of(site, "main.low_income")["durable_seq"])  # answers arrive on this line
            proxy.swallow_answers()
            _await_more(lambda: _archived(fleet))  # what is archived from now on, the agent is not told
            proxy.cut()
        site.writer.stop()
        assert proxy.swallowed > 0
        assert_equal(fleet)


def test_one_streams_trouble_never_stops_another(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    with contextlib.closing(sqlite3.connect(site.database.file)) as connection:
        connection.execute("CREATE TABLE doomed (id INTEGER PRIMARY KEY, v TEXT, n INTEGER)")
        connection.execute("INSERT INTO doomed VALUES (1, 'x', 1)")
        connection.commit()
    source = next((site.home / "sources.d").glob("*.toml"))
    entry = '\n[[table]]\nname = "main.doomed"\nmode = "cursor"\ncursor = "n"\n'
    source.write_text(source.read_text("utf-8") + entry, "utf-8")
    fleet.start()
    _wait_for(lambda: _state_of(site, "main.doomed")["durable_seq"] > 0)
    with contextlib.closing(sqlite3.connect(site.database.file)) as connection:
        connection.execute("DROP TABLE doomed")
        connection.commit()
    site.writer.start()
    _wait_for(lambda: _state_of(site, "main.doomed")["state"] == "held")
    time.sleep(1)
    site.writer.stop()
    assert_equal(fleet)
    held = _state_of(site, "main.doomed")
    assert held["code"] == "FB-TABLE-MISSING"
    assert held["remedy"]


def test_what_the_file_does_not_name_and_what_is_masked_never_leave_in_the_clear(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    source = next((site.home / "sources.d").glob("*.toml"))
    text = source.read_text("utf-8").replace('mode = "trigger"', 'mode = "trigger"\nexclude = ["monthly_amount"]')
    source.write_text(text, "utf-8")
    with contextlib.closing(sqlite3.connect(site.database.file)) as connection:
        connection.execute("CREATE TABLE other (id INTEGER PRIMARY KEY, secret TEXT)")
        connection.execute("INSERT INTO other VALUES (1, '不得共享')")
        connection.commit()
        secrets = [
            str(value).encode()
            for row in connection.execute("SELECT citizen_id, mobile FROM low_income LIMIT 50")
            for value in row
            if value
        ]
    fleet.start()
    _wait_for(lambda: _state_of(site, "main.low_income")["loaded_seq"] > 0)
    shown = collector(fleet, "sql", "select * from low_income limit 3", "--format", "csv").stdout
    assert "monthly_amount" not in shown
    assert "********" in shown
    assert "other" not in collector(fleet, "tables").stdout
    fleet.stop()
    archived = sorted((fleet.data / "archive").rglob("*.batch"))
    assert archived
    clear = [_cleartext(path) for path in archived]
    everything = [path for folder in (site.state, fleet.data) for path in folder.rglob("*") if path.is_file()]
    everything += [site.agent.log, fleet.collector.log]
    for secret in secrets:
        assert not any(secret in content for content in clear)
        assert not any(secret in path.read_bytes() for path in everything)


def _cleartext(path: Path) -> bytes:
    """A sealed batch's payload, decompressed."""
    stream = StreamName("民政局", "dbk", "main.low_income")
    payload = parse(path, path.read_bytes(), stream, int(path.parent.name), int(path.stem)).payload
    return zstandard.ZstdDecompressor().decompress(payload) if payload[:4] == b"\x28\xb5\x2f\xfd" else payload


def test_a_table_dropped_and_created_again_waits_for_a_reset_and_then_is_equal(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_ENTERPRISES)
    fleet.start()
    assert_equal(fleet)
    with contextlib.closing(sqlite3.connect(site.database.file)) as connection:
        connection.execute("DROP TABLE enterprise")
        connection.commit()
    _wait_for(lambda: _state_of(site, "main.enterprise")["state"] == "held")
    assert "enterprise" in collector(fleet, "tables").stdout
    site.database.create(SMALL_ENTERPRISES.create("sqlite"))
    with contextlib.closing(sqlite3.connect(site.database.file)) as connection:
        connection.execute("INSERT INTO enterprise (id, name, updated_at) VALUES (7, '新企业', '2026-11-23 00:00:00')")
        connection.commit()
    stream = _state_of(site, "main.enterprise")["stream"]
    told = agent(site, "reset", stream, "--reason", "the table was rebuilt", "--yes")
    assert told.returncode == 0, told.stderr
    assert_equal(fleet, 60)
    assert _state_of(site, "main.enterprise")["epoch"] == 2


def test_sql_and_verify_answer_while_loads_go_on(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    fleet.start()
    _wait_for(lambda: _state_of(site, "main.low_income")["loaded_seq"] > 0)
    site.writer.start()
    for _ in range(3):
        told = collector(fleet, "sql", "select count(*) as n from low_income", "--format", "json")
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)[0]["n"] > 0
    verified = collector(fleet, "verify", "--all")
    site.writer.stop()
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert_equal(fleet)
    with contextlib.closing(sqlite3.connect(fleet.platform / "catalog.db")) as connection:
        assert connection.execute("SELECT count(*) FROM iceberg_tables").fetchone() == (2,)


def test_a_canary_goes_the_whole_way_to_the_platform_and_is_no_table_to_verify(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    canary(site, "read", "1s")
    fleet.start()

    def canaries() -> list[dict[str, Any]]:
        return [dict(each) for each in agent_status(site).get("canaries", [])]

    _wait_for(lambda: any(each["round_trip_us"] for each in canaries()))
    told = collector(fleet, "sql", 'select id, kind from "民政局.dbk.forebay.canary"', "--format", "json")
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout) == [{"id": "dbk", "kind": "read"}]
    verified = collector(fleet, "verify", "--all", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert [entry["stream"] for entry in json.loads(verified.stdout)] == ["民政局/dbk/main.low_income"]
    assert_equal(fleet)


def _state_of(site: Site, table: str) -> dict[str, Any]:
    for stream in agent_status(site).get("streams", []):
        if str(stream["stream"]).endswith(table):
            return dict(stream)
    return {"durable_seq": 0, "loaded_seq": 0, "state": "", "code": "", "remedy": "", "stream": "", "epoch": 0}


def _archived(fleet: Fleet) -> int:
    """Up to which batch the collector has the only stream there is."""
    streams = json.loads(collector(fleet, "streams", "--json").stdout)
    return int(streams[0]["durable"].split("/")[1]) if streams else 0


def _await_more(number: Callable[[], int]) -> None:
    before = number()
    _wait_for(lambda: number() > before)


def _wait_for(what: Callable[[], bool], seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.3)
