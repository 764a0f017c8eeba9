"""Certificates of completeness: what the tables of a department came to on a day, signed. `serve` issues them daily by itself.

`verify` checks a file by itself, without a collector and without a connection: with the public key of who signs (`key`), or the
certificate of the centre's authority (authority.pem). Exit 0: it is valid; 1: it is not.

examples:
  forebay-collector certificate list --department 市监局
  forebay-collector certificate make --department 市监局 --day 2026-11-27
  forebay-collector certificate show 12 --out 市监局-2026-11-27.json
  forebay-collector certificate key --out completeness.pub
  forebay-collector certificate verify 市监局-2026-11-27.json --key completeness.pub
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forebay_collector.cli.listing import moment, print_json, print_table, span
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.completeness import document
from forebay_collector.completeness.signer import signer_of
from forebay_collector.errors import DataFolderUnusable
from forebay_collector.service import completeness

_SECOND_US = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed", required=True)
    make = deeds.add_parser("make", help="issue certificates now")
    make.add_argument(
        "--department", action="append", default=[], help="of this one; may be given again (default: all)"
    )
    make.add_argument("--day", default="", metavar="YYYY-MM-DD", help="of this day (default: the last that is over)")
    make.add_argument("--json", action="store_true", help="print JSON")
    listed = deeds.add_parser("list", help="list certificates, the newest first")
    listed.add_argument("--department", default="", help="of this one")
    listed.add_argument("--day", default="", metavar="YYYY-MM-DD", help="of this day")
    listed.add_argument("--limit", type=int, default=50, help="at most so many (default 50)")
    listed.add_argument("--json", action="store_true", help="print JSON")
    show = deeds.add_parser("show", help="show what one says, or write its file")
    show.add_argument("id", type=int, help="as `list` shows it")
    show.add_argument("--out", type=Path, metavar="FILE", help="write the file, byte for byte as it was signed")
    show.add_argument("--json", action="store_true", help="print JSON")
    verify = deeds.add_parser("verify", help="check a file, without a connection")
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.add_argument(
        "--key", type=Path, metavar="FILE", help="public key or authority.pem (default: this collector's authority)"
    )
    verify.add_argument("--json", action="store_true", help="print JSON")
    key = deeds.add_parser("key", help="print the public key that certificates are checked with")
    key.add_argument("--out", type=Path, metavar="FILE", help="write it to a file")


def run(arguments: argparse.Namespace, office: Office) -> int:
    deeds = {"make": _make, "list": _list, "show": _show, "verify": _verify, "key": _key}
    return deeds[arguments.deed](arguments, office)


def _make(arguments: argparse.Namespace, office: Office) -> int:
    ledger, actor = office.ledger(), office.actor()
    made = [
        completeness.make(ledger, office.settings(), actor, department, arguments.day)
        for department in arguments.department or completeness.departments(ledger, actor)
    ]
    found = [completeness.show(ledger, actor, number)[0] for number in made]
    _print(found, office, as_json=arguments.json)
    return FINE


def _list(arguments: argparse.Namespace, office: Office) -> int:
    chosen = {name: getattr(arguments, name) for name in ("department", "day", "limit")}
    _print(completeness.listing(office.ledger(), office.actor(), **chosen), office, as_json=arguments.json)
    return FINE


def _show(arguments: argparse.Namespace, office: Office) -> int:
    _, content = completeness.show(office.ledger(), office.actor(), arguments.id)
    if arguments.out is not None:
        arguments.out.write_bytes(content)
        office.out.write(f"{arguments.out}: {len(content)} bytes\n")
    elif arguments.json:
        office.out.write(content.decode())
    else:
        office.out.write(_text(completeness.statement_of(content)))
    return FINE


def _verify(arguments: argparse.Namespace, office: Office) -> int:
    trusted = arguments.key
    if trusted is None:
        trusted = office.data / "identity" / "authority.pem"
        if not trusted.exists():
            raise DataFolderUnusable(
                f"{trusted} is not there", remedy="Name the public key, or the authority's certificate: --key FILE."
            )
    verified = document.verify(arguments.file.read_bytes(), trusted.read_bytes())
    if arguments.json:
        print_json({"valid": True, "signer": verified.signer, "certificate": verified.statement}, office.out)
    else:
        office.out.write(_text(verified.statement))
        office.out.write(f"valid: signed by {verified.signer}\n")
    return FINE


def _key(arguments: argparse.Namespace, office: Office) -> int:
    public = signer_of(office.settings().data.identity).public_key
    if arguments.out is not None:
        arguments.out.write_bytes(public)
    else:
        office.out.write(public.decode())
    return FINE


def _print(found: list[Any], office: Office, *, as_json: bool) -> None:
    rows = [
        {
            "id": one.id,
            "department": one.department,
            "day": one.day,
            **one.totals,
            "complete": one.complete,
            "complete_tables": one.totals["complete"],
            "issued_at": moment(one.issued_at),
            "issued_by": one.issued_by,
        }
        for one in found
    ]
    if as_json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no certificates\n")
    else:
        columns = ("id", "department", "day", "complete", "tables", "complete_tables", "rows", "issued_at", "issued_by")
        print_table(rows, columns, office.out, right=frozenset({"id", "tables", "complete_tables", "rows"}))


def _text(said: Mapping[str, Any]) -> str:
    day, totals = said["day"], said["totals"]
    verdict = "complete" if totals["complete"] == totals["tables"] else "NOT COMPLETE"
    lines = [
        f"{said['department']}  {day['name']} ({day['zone']})  number {said['number']}: {verdict}",
        f"{totals['complete']} of {totals['tables']} tables complete; {totals['rows']} rows received that day",
        f"{totals['waiting_batches']} batches wait; issued {moment(said['issued_at_us'])} by {said['issued_by']}",
    ]
    for table in said["tables"]:
        lines += _of_table(table)
    return "\n".join(lines) + "\n"


def _of_table(table: Mapping[str, Any]) -> list[str]:
    through, received, verified, repairs = (table[name] for name in ("through", "received", "verified", "repairs"))
    why = ", ".join(table["reasons"]) or "complete"
    kinds = ", ".join(f"{name} {received[name]}" for name in ("reads", "inserts", "updates", "deletes"))
    late = span(received["loaded_late_us"] / _SECOND_US)
    lines = [
        f"\n{table['source']}/{table['table']}: {why}",
        f"  through {through['epoch']}/{through['seq']} position {through.get('position', '?')}",
        f"  chain {through.get('chain', '?')}",
        f"  received {received['rows']} rows in {received['batches']} batches ({kinds}); loaded at most {late} late",
    ]
    if verified is not None:
        word = "equal" if verified["equal"] else "NOT EQUAL"
        lines.append(f"  compared {moment(verified['at_us'])}: {word}")
        lines += [
            f"    {side:9} {verified[side]['rows']} rows {verified[side]['digest']}" for side in ("source", "platform")
        ]
    if repairs["repairs"]:
        lines.append(
            f"  repaired: {repairs['sent']} rows sent, {repairs['deleted']} deleted, {repairs['left_over']} left"
        )
    return lines
