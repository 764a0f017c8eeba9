"""Answer a SELECT over the platform's tables as they are now. Never writes.

`forebay-collector tables` lists the names. Rows are printed as they come with csv and json; a table is aligned from its
first 10,000 rows.

examples:
  forebay-collector sql "select count(*) from enterprise"
  forebay-collector sql "select * from enterprise_changes order by _seq desc limit 10" --format json
  forebay-collector sql "select district, count(*) from enterprise group by 1" --format csv > districts.csv
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from forebay_collector.cli.listing import print_csv, print_table
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE

_ALIGNED_ROWS: Final = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="SELECT", help="the query; - reads it from standard input")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")


def run(arguments: argparse.Namespace, office: Office) -> int:
    query = sys.stdin.read() if arguments.query == "-" else arguments.query
    reader = office.platform().sql(query)
    names = list(reader.schema.names)
    writers = {"csv": _print_csv, "json": _print_json, "table": _print_table}
    writers[arguments.format](names, _rows(reader), office)
    return FINE


def _rows(reader: pa.RecordBatchReader) -> Iterator[list[Any]]:
    for batch in reader:
        # row by row only here, where they are turned to text for people or programs
        yield from (list(row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _print_csv(names: list[str], rows: Iterator[list[Any]], office: Office) -> None:
    print_csv([names], office.out)
    for row in rows:
        print_csv([["" if value is None else _text(value) for value in row]], office.out)


def _print_json(names: list[str], rows: Iterator[list[Any]], office: Office) -> None:
    """A JSON array with one object per line."""
    separator = "[\n"
    for row in rows:
        entry = dict(zip(names, row, strict=True))
        office.out.write(separator + json.dumps(entry, ensure_ascii=False, default=_text))
        separator = ",\n"
    office.out.write("\n]\n" if separator != "[\n" else "[]\n")


def _print_table(names: list[str], rows: Iterator[list[Any]], office: Office) -> None:
    places = [str(place) for place in range(len(names))]
    count = 0
    kept: list[dict[str, Any]] = []
    for row in rows:
        kept.append(
            {place: "NULL" if value is None else _text(value) for place, value in zip(places, row, strict=True)}
        )
        count += 1
        if len(kept) == _ALIGNED_ROWS:
            print_table(kept, places, office.out, heads=names if count == _ALIGNED_ROWS else [])
            kept = []
    if kept or not count:
        print_table(kept, places, office.out, heads=names if count == len(kept) else [])
    office.out.write(f"({count} row{'' if count == 1 else 's'})\n")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_text)
    return str(value)
