"""The SQL of the guide for the DBA, verbatim, on real servers: it suffices for `check`, and not one statement of it is too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from forebay_agent.capture.plan import describe
from forebay_agent.capture.source import Severity
from forebay_agent.capture.sources import open_source
from forebay_agent.capture.trigger import offers_triggers
from forebay_agent.check.checked import Checked
from forebay_agent.check.databases import check_source
from forebay_agent.config.model import SourceConfig, TableConfig
from forebay_agent.config.secret import Secret
from tests.handbook import guides
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

GUIDE = guides.FOLDER / "en" / "tables.md"
MODES = ("snapshot", "log", "cursor", "trigger")
PASSWORD = "choose-your-own"


@dataclass
class Department:
    """A private server with the department's table; `owner` runs what the department's DBA runs."""

    server: MariaDB | PostgreSQL
    config: SourceConfig
    table: str

    def run(self, statement: str) -> None:
        if isinstance(self.server, PostgreSQL):
            self.server.execute(statement, database="civil")
        else:
            self.server.execute(statement)

    def missing(self, mode: str) -> list[Checked]:
        """What `check` asks the DBA for."""
        table = TableConfig(self.table, mode=mode, cursor="id" if mode == "cursor" else "")
        found = list(check_source(replace(self.config, tables=(table,))))
        return [one for one in found if one.severity is Severity.ERROR or one.remedy.startswith("Ask the DBA")]

    def install(self) -> None:
        """What `check --sql` prints in mode trigger."""
        owner = replace(self.config, user=self.server.user, password=self._owners())
        with closing(open_source(owner)) as source:
            assert offers_triggers(source)
            changes = source.change_table(describe(source, TableConfig(self.table, mode="trigger")))
            source.install(changes)

    def _owners(self) -> Secret:
        assert self.config.password is not None
        assert self.config.password.file is not None
        file = self.config.password.file.with_name("owner")
        file.write_text(self.server.password)
        return Secret(file=file)


def statements(database: str, mode: str) -> list[str]:
    """What the guide says for a mode, one by one."""
    wanted = (f"sql {database}", f"sql {database} {mode}")
    text = "".join(block.without_comments + "\n" for block in guides.blocks(GUIDE) if block.info in wanted)
    return [part.strip() for part in text.split(";\n") if part.strip()]


@pytest.fixture
def department(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Department]:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    source = SourceConfig("civil", "", "civil.toml", host="127.0.0.1", database="civil", user="forebay")
    source = replace(source, password=Secret(file=secret))
    if request.param == "mariadb":
        with MariaDB.start(tmp_path / "m") as maria:
            maria.execute(
                "CREATE DATABASE civil CHARACTER SET utf8mb4",
                "CREATE TABLE civil.person (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40), amount BIGINT NOT NULL)",
            )
            yield Department(maria, replace(source, kind="mysql", port=maria.port), "person")
    else:
        with PostgreSQL.start(tmp_path / "p") as postgres:
            _rename_owner(postgres)
            postgres.create_database("civil")
            postgres.execute(
                "CREATE SCHEMA registry",
                "CREATE TABLE registry.person (id bigint PRIMARY KEY, name varchar(40), amount bigint NOT NULL)",
                database="civil",
            )
            yield Department(postgres, replace(source, kind="postgresql", port=postgres.port), "registry.person")


def _rename_owner(server: PostgreSQL) -> None:
    """The private server's superuser has the name that the guide gives to the account."""
    server.execute("CREATE ROLE renaming SUPERUSER LOGIN PASSWORD 'renaming'")
    with server.connect(user="renaming", password="renaming") as connection:
        connection.execute("ALTER ROLE forebay RENAME TO dba")
    server.user = "dba"


def drop_account(department: Department, database: str) -> None:
    if database == "mariadb":
        department.run("DROP USER IF EXISTS forebay@'127.0.0.1'")
        return
    department.run("DROP PUBLICATION IF EXISTS forebay_civil")
    department.run(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'forebay') THEN DROP OWNED BY forebay; DROP ROLE forebay; "
        "END IF; END $$"
    )


@pytest.mark.parametrize("department", ["mariadb", "postgresql"], indirect=True)
def test_the_guides_statements_suffice_for_each_mode_and_each_of_them_is_needed(
    department: Department, request: pytest.FixtureRequest
) -> None:
    database = request.node.callspec.params["department"]
    for mode in MODES:
        whole = statements(database, mode)
        assert len(whole) >= 2
        for left_out in (None, *range(1, len(whole))):  # without the account itself there is nothing to look at
            drop_account(department, database)
            for number, statement in enumerate(whole):
                if mode == "trigger" and number == 1:
                    _install_as(department, database)
                if number != left_out:
                    department.run(statement)
            missing = department.missing(mode)
            if left_out is None:
                assert missing == [], (mode, missing)
            else:
                assert missing, (mode, "is not needed", whole[left_out])


def _install_as(department: Department, database: str) -> None:
    """The DBA installs what `check` prints once the account is there; PostgreSQL's part grants the change table to it."""
    department.install()
    if database == "postgresql":
        department.run("GRANT SELECT, DELETE ON registry._forebay_changes_person TO forebay")


def test_every_statement_of_the_guide_belongs_to_a_mode() -> None:
    for database in ("mariadb", "postgresql"):
        known = {part for mode in MODES for part in statements(database, mode)}
        blocks = [block for block in guides.blocks(GUIDE) if block.info.startswith(f"sql {database}")]
        told = {
            part.strip() for block in blocks for part in (block.without_comments + "\n").split(";\n") if part.strip()
        }
        assert told == known
