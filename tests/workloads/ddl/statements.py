"""The statements that change a table, drawn by the seed: columns come, go, are renamed and retyped; tables too."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.workloads.ddl import tables
from tests.workloads.ddl.servers import Dialect, Failures
from tests.workloads.ddl.tables import Column, Table, column, tick
from tests.workloads.ddl.writers import Writer

_MOST_COLUMNS: Final = 9
_KINDS: Final = (tables.INT, tables.BIGINT, tables.VARCHAR, tables.TEXT, tables.DECIMAL)
_DEFAULTS: Final[dict[str, int | str]] = {
    tables.INT: 7,
    tables.BIGINT: 70_000_000_007,
    tables.VARCHAR: "未填",
    tables.DECIMAL: "7.5",
}


def first_columns() -> list[Column]:
    """What a table is made with."""
    return [
        column("count", tables.INT),
        column("name", tables.VARCHAR),
        column("amount", tables.DECIMAL, default="7.5", nullable=False),
        column("note", tables.TEXT),
        column("other", tables.INT),
    ]


class Changing:
    """Changes one table at a time. own: a writer per table, for rows that change while it is called otherwise.

    done: how often each kind of statement succeeded. refused: how often the server refused one, by kind.
    """

    def __init__(self, dialect: Dialect, own: dict[str, Writer], seed: int) -> None:
        self.dialect = dialect
        self.own = own
        self.draw = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._numbers = iter(range(1, 1_000_000))

    def one(self, connection: Any, table: Table) -> str:
        """One change of the table -> its kind, "" when the server refused it."""
        kinds: list[tuple[int, Callable[[Any, Table], None]]] = [
            (10, self.add_column),
            (6, self.add_two),
            (8, self.drop_column),
            (10, self.rename_column),
            (5, self.swap_names),
            (10, self.retype),
            (5, self.again_under_the_name),
            (5, self.rename_away),
            (5, self.swap_tables),
            (4, self.truncate),
            (4, self.drop_and_create),
            (6, self.change_index),
            (4, self.rebuild),
            *([(8, self.change_excluded)] if table.excluded else []),
        ]
        change = self.draw.choices([each for _, each in kinds], [weight for weight, _ in kinds])[0]
        name = change.__name__
        try:
            change(connection, table)
        except Failures as refused:
            with contextlib.suppress(*Failures):
                connection.cursor().execute("ROLLBACK")
            self.refused[f"{name} {getattr(refused, 'sqlstate', None) or refused.args[0]}"] += 1
            return ""
        self.done[name] += 1
        return name

    def add_column(self, connection: Any, table: Table) -> None:
        if len(table.live) >= _MOST_COLUMNS:
            self.drop_column(connection, table)
            return
        new = self._new_column(table)
        where = ""
        if self.dialect.is_mariadb and self.draw.random() < 0.4:
            after = self.draw.choice(table.live).name if table.live else "id"
            where = self.draw.choice((" FIRST", f" AFTER {self.dialect.quote(after)}"))
        with self._altering(connection, table, f"ADD COLUMN {self.dialect.definition(new)}{where}") as began:
            self._appear(table, new, began)

    def add_two(self, connection: Any, table: Table) -> None:
        """Adds one and drops another in one statement."""
        gone = self._some(table)
        if gone is None:
            return
        new = self._new_column(table)
        what = f"DROP COLUMN {self.dialect.quote(gone.name)}, ADD COLUMN {self.dialect.definition(new)}"
        with self._altering(connection, table, what) as began:
            gone.namings[-1].until = tick()
            self._appear(table, new, began)

    def drop_column(self, connection: Any, table: Table) -> None:
        gone = self._some(table)
        if gone is None:
            return
        with self._altering(connection, table, f"DROP COLUMN {self.dialect.quote(gone.name)}"):
            gone.namings[-1].until = tick()

    def rename_column(self, connection: Any, table: Table) -> None:
        renamed = self._some(table)
        if renamed is None:
            return
        name = table.fresh_name(renamed.kind)
        quote = self.dialect.quote
        with self._altering(connection, table, f"RENAME COLUMN {quote(renamed.name)} TO {quote(name)}") as began:
            tables.rename(renamed, name, began)

    def swap_names(self, connection: Any, table: Table) -> None:
        """Two columns of one type take each other's name: only who follows the definition can tell."""
        one = self._some(table)
        others = [each for each in table.live if one is not None and each is not one and _alike(each, one, table)]
        if one is None or not others:
            self.rename_column(connection, table)
            return
        other = self.draw.choice(others)
        quote, first, second = self.dialect.quote, one.name, other.name
        between = table.fresh_name("between")
        steps = [(first, between), (second, first), (between, second)]
        began = tick()
        cursor = connection.cursor()
        if self.dialect.is_mariadb:
            parts = [f"RENAME COLUMN {quote(a)} TO {quote(b)}" for a, b in ((first, second), (second, first))]
            cursor.execute(f"ALTER TABLE {self.dialect.place(table)} {', '.join(parts)}")
        else:
            cursor.execute("BEGIN")
            for a, b in steps:
                cursor.execute(f"ALTER TABLE {self.dialect.place(table)} RENAME COLUMN {quote(a)} TO {quote(b)}")
            cursor.execute("COMMIT")
        tables.rename(one, second, began)
        tables.rename(other, first, began)

    def retype(self, connection: Any, table: Table) -> None:
        able = [each for each in table.live if each.kind in tables.RETYPES and not each.fixed]
        if not able:
            self.add_column(connection, table)
            return
        retyped = self.draw.choice(able)
        kind = self.draw.choice(tables.RETYPES[retyped.kind])
        before, retyped.kind = retyped.kind, kind
        quote = self.dialect.quote
        if self.dialect.is_mariadb:
            what = f"MODIFY COLUMN {self.dialect.definition(retyped)}"
        else:
            what = f"ALTER COLUMN {quote(retyped.name)} TYPE {self.dialect.kind(kind)}"
        retyped.kind = before
        with self._altering(connection, table, what):
            retyped.kind = kind

    def again_under_the_name(self, connection: Any, table: Table) -> None:
        """A column goes and another comes under its name, in one statement or two."""
        gone = self._some(table)
        if gone is None:
            return
        new = self._new_column(table, gone.name)
        parts = [f"DROP COLUMN {self.dialect.quote(gone.name)}", f"ADD COLUMN {self.dialect.definition(new)}"]
        at_once = self.draw.random() < 0.5
        with self._altering(connection, table, ", ".join(parts) if at_once else parts[0]) as began:
            gone.namings[-1].until = tick()
            if at_once:
                self._appear(table, new, began)
        if not at_once:
            with self._altering(connection, table, parts[1]) as began:
                self._appear(table, new, began)

    def rename_away(self, connection: Any, table: Table) -> None:
        """The table is called otherwise for a while, and rows change meanwhile."""
        away = f"{table.name}_away"
        connection.cursor().execute(self.dialect.rename_table(table, table.name, away))
        for _ in range(self.draw.randrange(4)):
            time.sleep(self.draw.uniform(0, 0.4))
            self._write(connection, table, away)
        self._insist(connection, self.dialect.rename_table(table, away, table.name))

    def swap_tables(self, connection: Any, table: Table) -> None:
        """As tools for schema changes do it: a new table takes the name of the old one."""
        new, old = f"{table.name}_new", f"{table.name}_old"
        dialect, cursor = self.dialect, connection.cursor()
        added = self._new_column(table) if self.draw.random() < 0.6 and len(table.live) < _MOST_COLUMNS else None
        table.gate.shut()
        try:
            began = tick()
            whole = not dialect.is_mariadb and self.draw.random() < 0.5
            if whole:
                cursor.execute("BEGIN")
            like = f"LIKE {dialect.place(table)}"
            cursor.execute(
                f"CREATE TABLE {dialect.place(table, new)} {like if dialect.is_mariadb else f'({like} INCLUDING ALL)'}"
            )
            if added is not None:
                cursor.execute(f"ALTER TABLE {dialect.place(table, new)} ADD COLUMN {dialect.definition(added)}")
            names = ", ".join(dialect.quote(name) for name in self._names_of(table))
            cursor.execute(
                f"INSERT INTO {dialect.place(table, new)} ({names}) SELECT {names} FROM {dialect.place(table)}"
            )
            if dialect.is_mariadb and self.draw.random() < 0.5:
                places = [(table.name, old), (new, table.name)]
                pairs = ", ".join(f"{dialect.place(table, a)} TO {dialect.place(table, b)}" for a, b in places)
                cursor.execute(f"RENAME TABLE {pairs}")
            else:
                cursor.execute(dialect.rename_table(table, table.name, old))
                self._insist(connection, dialect.rename_table(table, new, table.name))
            if whole:
                cursor.execute("COMMIT")
            if added is not None:
                self._appear(table, added, began)
            table.indexes.clear()
        except Failures:
            with contextlib.suppress(*Failures):
                cursor.execute("ROLLBACK")
            cursor.execute(f"DROP TABLE IF EXISTS {dialect.place(table, new)}")
            raise
        finally:
            table.gate.open()
        self._insist(connection, f"DROP TABLE {dialect.place(table, old)}")

    def truncate(self, connection: Any, table: Table) -> None:
        connection.cursor().execute(f"TRUNCATE TABLE {self.dialect.place(table)}")

    def drop_and_create(self, connection: Any, table: Table) -> None:
        """The new table has the first columns again, whatever became of them."""
        excluded = [each for each in table.live if each.fixed]
        columns = [*first_columns(), *(column(each.name, each.kind, fixed=True) for each in excluded)]
        cursor = connection.cursor()
        began = tick()
        cursor.execute(f"DROP TABLE {self.dialect.place(table)}")
        time.sleep(self.draw.choice((0.0, 0.3, 1.5)))
        self._insist(connection, self.dialect.create(table, columns))
        table.begin(columns, began)

    def change_index(self, connection: Any, table: Table) -> None:
        quote, cursor = self.dialect.quote, connection.cursor()
        if table.indexes and self.draw.random() < 0.5:
            name = table.indexes.pop()
            where = f" ON {self.dialect.place(table)}" if self.dialect.is_mariadb else ""
            schema = "" if self.dialect.is_mariadb else f"{quote(table.schema)}."
            cursor.execute(f"DROP INDEX {schema}{quote(name)}{where}")
            return
        name = f"{table.name}_i{next(self._numbers)}"
        cursor.execute(f"CREATE INDEX {quote(name)} ON {self.dialect.place(table)} ({quote('stamp')})")
        table.indexes.append(name)

    def rebuild(self, connection: Any, table: Table) -> None:
        """Every row is written anew, and nothing changes."""
        place = self.dialect.place(table)
        connection.cursor().execute(f"ALTER TABLE {place} FORCE" if self.dialect.is_mariadb else f"VACUUM FULL {place}")

    def change_excluded(self, connection: Any, table: Table) -> None:
        """Columns that are not captured change their type."""
        (name, *_) = sorted(table.excluded)
        kind = self.draw.choice(("varchar(9000)", self.dialect.kind(tables.TEXT)))
        quoted = self.dialect.quote(name)
        what = f"MODIFY COLUMN {quoted} {kind}" if self.dialect.is_mariadb else f"ALTER COLUMN {quoted} TYPE {kind}"
        with self._altering(connection, table, what):
            pass

    @contextlib.contextmanager
    def _altering(self, connection: Any, table: Table, what: str) -> Iterator[int]:
        """Runs the statement; the body then notes what it did. -> the tick before it."""
        began = tick()
        connection.cursor().execute(f"ALTER TABLE {self.dialect.place(table)} {what}")
        yield began

    def _insist(self, connection: Any, statement: str) -> None:
        """What has to succeed for the table to have its name."""
        for _ in range(20):
            with contextlib.suppress(*Failures):
                connection.cursor().execute(statement)
                return
        connection.cursor().execute(statement)

    def _write(self, connection: Any, table: Table, name: str) -> None:
        with contextlib.suppress(*Failures):
            self.own[table.name].transaction(connection, name)

    def _new_column(self, table: Table, name: str = "") -> Column:
        kind = self.draw.choice(_KINDS)
        default = _DEFAULTS.get(kind) if self.draw.random() < 0.6 else None
        nullable = default is None or self.draw.random() < 0.5
        return column(name or table.fresh_name(kind), kind, default=default, nullable=nullable)

    def _appear(self, table: Table, new: Column, began: int) -> None:
        new.namings[-1].since = began
        table.columns.append(new)

    def _some(self, table: Table) -> Column | None:
        """A column that may go or change its name: one that the table's entry does not name."""
        able = [each for each in table.live if not each.fixed and each.name not in table.only]
        return self.draw.choice(able) if len(able) > 1 else None

    def _names_of(self, table: Table) -> list[str]:
        return ["id", "stamp", *(each.name for each in table.live)]


def _alike(one: Column, other: Column, table: Table) -> bool:
    free = not one.fixed and one.name not in table.only
    return free and (one.kind, one.nullable, one.default) == (other.kind, other.nullable, other.default)
