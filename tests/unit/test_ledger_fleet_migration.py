"""A ledger of before the fleet goes up with its agents and commands, and down again."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import URL

from forebay_collector.ledger.database import Database
from forebay_collector.ledger.migrate import migrate, version

_AGENT = """
    INSERT INTO agent (name, department, serial, expires_at, enrolled_at, revoked_at, last_seen_at, version, hostname,
                       instance, health, streams)
    VALUES ('scjg-01', '市监局', 'ab', 1, 2, 0, 3, '1', 'h', 'i', '{"cpu_percent": 1}', '[{"stream": "a/b/c"}]')
"""
_COMMAND = """
    INSERT INTO command (id, agent, kind, parameters, created_by, created_at, expires_at, state, code, reason, ended_at)
    VALUES ('x', 'scjg-01', 'drain', '{}', 'ops', 1, 2, 'done', '', '', 3)
"""


def test_agents_and_commands_of_before_outlive_the_way_up_and_down(tmp_path: Path) -> None:
    database = Database(URL.create("sqlite", database=str(tmp_path / "ledger.db")))
    migrate(database, 2)
    with database.write() as connection:
        connection.execute(text(_AGENT))
        connection.execute(text(_COMMAND))
    migrate(database, 3)
    with database.read() as connection:
        assert version(connection) == 3
        agent = connection.execute(text("SELECT * FROM agent")).mappings().one()
        assert "streams" not in agent, "the next heartbeat tells all of them"
        assert (agent["name"], agent["last_seen_at"], agent["connected_since"], agent["two_places_at"]) == (
            "scjg-01",
            3,
            0,
            0,
        )
        command = connection.execute(text("SELECT * FROM command")).mappings().one()
        assert (command["state"], command["why"], command["effect"], command["sent_at"]) == ("done", "", "", 0)
    migrate(database, 2)
    with database.read() as connection:
        agent = connection.execute(text("SELECT * FROM agent")).mappings().one()
        assert (agent["name"], agent["streams"], agent["health"]) == ("scjg-01", "[]", '{"cpu_percent": 1}')
        assert connection.execute(text("SELECT count(*) FROM command")).scalar_one() == 1
    database.close()
