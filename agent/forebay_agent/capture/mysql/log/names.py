"""Names of tables as one server compares them (`lower_case_table_names`)."""

from __future__ import annotations

from forebay_agent.capture.source import TableName


class Names:
    """lower: whether the server takes names without regard to case."""

    def __init__(self, database: str, *, lower: bool) -> None:
        """database: the connection's own."""
        self.lower = lower
        self._database = self._folded(database)

    def table(self, schema: str, name: str) -> TableName:
        """A table's name for comparison; an empty schema is the connection's own."""
        return TableName(self._folded(schema) or self._database, self._folded(name))

    def _folded(self, name: str) -> str:
        return name.lower() if self.lower else name
