"""Trace a row of the platform: its source, every change of it, and for each the hands that it passed: agent, archive, loader.

Name the row by its key, COLUMN=VALUE for each key column (the values as they are in the platform, masked where they are), or by
the place of one of its changes in the history, --row EPOCH/SEQ/ROW. Exit 0: traced, 1: no such row.

examples:
  forebay-collector trace 市监局/enterprise/main.enterprise id=1017
  forebay-collector trace 市监局/enterprise/main.permit --row 1/42/0 --json
  forebay-collector trace 民政局/dibao/public.low_income id=DB00000017 --values
"""

from __future__ import annotations

import argparse
from typing import Any

from forebay_collector.archive import LocalArchive
from forebay_collector.cli.listing import moment, print_json, shown
from forebay_collector.cli.names import stream_name
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.custody.trace import MOST, Trace, Version
from forebay_collector.errors import NotPossible
from forebay_collector.service import custody


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", type=stream_name, metavar="STREAM", help="department/source/schema.table")
    parser.add_argument("where", nargs="*", type=_where, metavar="COLUMN=VALUE", help="a key column's value")
    parser.add_argument("--row", type=_place, metavar="EPOCH/SEQ/ROW", help="the place of one of its changes")
    parser.add_argument("--values", action="store_true", help="show the columns' values of each change")
    parser.add_argument("--limit", type=int, default=MOST, help=f"at most so many changes, the newest (default {MOST})")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    if bool(arguments.where) == (arguments.row is not None):
        raise NotPossible(
            "a row is named by its key or by a place", remedy="Give COLUMN=VALUE for each key column, or --row."
        )
    archive = LocalArchive(office.settings().data.archive, writes=False)
    try:
        traced = custody.trace(
            office.ledger(),
            archive,
            office.platform(),
            office.actor(),
            arguments.stream,
            dict(arguments.where),
            arguments.row,
            most=arguments.limit,
        )
    finally:
        archive.close()
    if arguments.json:
        print_json(_json(traced, values=arguments.values), office.out)
    else:
        office.out.write(_text(traced, values=arguments.values))
    return FINE


def _json(traced: Trace, *, values: bool) -> dict[str, Any]:
    stream = traced.stream
    return {
        "stream": str(stream),
        "department": stream.department,
        "source": stream.source,
        "table": stream.table,
        "key": dict(traced.key),
        "present": traced.present,
        "changes": traced.found,
        "versions": [
            {
                "op": one.op,
                "position": one.position,
                "committed_at": moment(one.committed_at),
                "epoch": one.at[0],
                "seq": one.at[1],
                "row": one.at[2],
                "batch_rows": one.rows,
                "custody": one.custody,
                "hands": [
                    {"what": hand.what, "who": hand.who, "at": moment(hand.at), "detail": hand.detail}
                    for hand in one.hands
                ],
                **({"values": dict(one.values)} if values else {}),
            }
            for one in traced.versions
        ],
    }


def _text(traced: Trace, *, values: bool) -> str:
    key = ", ".join(f"{name}={shown(value)}" for name, value in traced.key.items())
    now = "in the mirror" if traced.present else "not in the mirror (any more)"
    lines = [f"{traced.stream}  {key}", f"{now}; {traced.found} changes in the history, newest first"]
    for one in traced.versions:
        lines += _of_version(one, values=values)
    if traced.found > len(traced.versions):
        lines.append(f"… and {traced.found - len(traced.versions)} older (--limit)")
    return "\n".join(lines) + "\n"


def _of_version(one: Version, *, values: bool) -> list[str]:
    committed = moment(one.committed_at) or "the source does not say"
    lines = [
        "",
        f"{_OPS.get(one.op, one.op)}  position {shown(one.position)}  committed {committed}",
        f"  batch {one.at[0]}/{one.at[1]}, row {one.at[2]} of {one.rows}; custody: {one.custody}",
    ]
    lines += [
        f"  {moment(hand.at) or '-':29}  {hand.what} by {hand.who}" + (f" ({hand.detail})" if hand.detail else "")
        for hand in one.hands
    ]
    if values:
        lines += [f"    {name} = {shown(value)}" for name, value in one.values.items()]
    return lines


_OPS = {"r": "read (snapshot)", "c": "inserted", "u": "updated", "d": "deleted"}


def _where(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=VALUE")
    return name, value


def _place(text: str) -> tuple[int, int, int]:
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not EPOCH/SEQ/ROW")
    return int(parts[0]), int(parts[1]), int(parts[2])
