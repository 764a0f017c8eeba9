"""What a database could share: the tables and views that its user sees. `setup` offers them."""

from __future__ import annotations

from typing import Protocol, cast

from forebay_agent.capture.source import Source, TableName


class ListsTables(Protocol):
    """A Source that can say which tables there are."""

    def tables(self) -> list[TableName]:
        """Tables and views that the user may read, in order of name: none of the system's, none of Forebay's own. `schema` is
        empty for the connection's own. Raises as Source."""


def tables_of(source: Source) -> list[TableName]:
    """Every dialect lists its tables."""
    return cast("ListsTables", source).tables()
