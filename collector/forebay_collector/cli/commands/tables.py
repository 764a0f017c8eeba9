"""List the platform's tables under the names that `sql` knows them by.

mirror: the current rows. changes: the history, a row per change.

examples:
  forebay-collector tables
  forebay-collector tables --json
"""

from __future__ import annotations

import argparse
from typing import Any

from forebay_collector.cli.listing import print_json, print_table, size
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE

_COLUMNS = ("table", "kind", "rows", "files", "size", "mark", "stream")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    rows: list[dict[str, Any]] = [
        {
            "table": table.name,
            "kind": table.kind,
            "rows": table.rows,
            "files": table.files,
            "bytes": table.bytes,
            "mark": f"{table.mark.epoch}/{table.mark.seq}",
            "stream": str(table.stream),
        }
        for table in office.platform().tables()
    ]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no tables: nothing was loaded yet\n")
    else:
        shown = [{**row, "size": size(row["bytes"])} for row in rows]
        print_table(shown, _COLUMNS, office.out, right=frozenset({"rows", "files", "size"}))
    return FINE
