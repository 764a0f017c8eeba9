"""Leading an old catalogue on: each table's newest metadata file is what the catalogue named last.

A table's metadata files are numbered, and each is on disk before the catalogue names it. One that the catalogue never came to
name is whole all the same, and carries its own mark: to name it is to commit it.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from forebay_collector.platform.iceberg.catalogue import CATALOGUE_FILE, WAREHOUSE

_NUMBERED: Final = re.compile(r"(\d{5,})-.*\.metadata\.json")


def follow_metadata(folder: Path) -> None:
    """Moves the pointers of the catalogue in a platform's folder, which nobody uses. Raises OSError.

    A table that has no file in this folder (any more) leaves the catalogue: the loader makes it anew from the archive.
    """
    warehouse = folder.resolve() / WAREHOUSE
    with closing(sqlite3.connect(folder / CATALOGUE_FILE)) as connection, connection:
        rows = connection.execute("SELECT rowid, metadata_location FROM iceberg_tables").fetchall()
        for number, location in rows:
            said = Path(location.removeprefix("file://"))
            newest = _newest(said.parent) if said.is_relative_to(warehouse) else None
            if newest is None:
                connection.execute("DELETE FROM iceberg_tables WHERE rowid = ?", (number,))
            elif newest != said:
                places = "previous_metadata_location = ?, metadata_location = ?"
                change = f"UPDATE iceberg_tables SET {places} WHERE rowid = ?"
                connection.execute(change, (location, str(newest), number))


def _newest(folder: Path) -> Path | None:
    """The metadata file with the highest number that can be read; of several, the one that was written last."""
    if not folder.is_dir():
        return None
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NUMBERED.fullmatch(path.name))]
    for number in sorted({number for number, _ in found}, reverse=True):
        whole = [(told, path) for one, path in found if one == number and (told := _updated(path)) is not None]
        if whole:
            return max(whole)[1]
    return None


def _updated(path: Path) -> int | None:
    """When the table was changed to what the file says, milliseconds; None: the file is not whole."""
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        return int(said["last-updated-ms"])
    except (ValueError, KeyError, TypeError):
        return None
