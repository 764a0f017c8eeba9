"""List who did what to what, when and why, newest first; verify that nothing of it was altered; export it.

Every entry carries the digest of the one before it. `verify` names the first entry that was altered, removed, inserted or
moved, and prints the head of the chain, NUMBER:DIGEST. Note that head elsewhere from time to time: `verify --head` then
also finds a chain that was computed anew.

examples:
  forebay-collector audit --since 7d
  forebay-collector audit --action discard --json
  forebay-collector audit verify
  forebay-collector audit verify --head 1042:7b0c…
  forebay-collector audit export --format jsonl --since 30d --out audit.jsonl
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from forebay_collector.cli.durations import since
from forebay_collector.cli.listing import moment, print_json, print_table
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.service import audit

_COLUMNS = ("id", "at", "who", "action", "subject", "why", "detail")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subject", default="", help="an agent, a stream, a batch (STREAM EPOCH/SEQ), or an account")
    parser.add_argument("--action", default="", help="token, enroll, revoke, quarantine, replay, discard, log-in, …")
    parser.add_argument("--who", default="", help="whose deeds")
    parser.add_argument("--department", default="", help="only what was done to this department")
    parser.add_argument("--since", type=since, default=0, help="a moment or a duration (7d)")
    parser.add_argument("--limit", type=int, default=100, help="at most so many (default 100)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(deed=None)
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed")
    verify = deeds.add_parser("verify", help="say whether the chain holds, and where it breaks first")
    verify.add_argument("--head", type=_head, metavar="NUMBER:DIGEST", help="the head as it was noted before")
    verify.add_argument("--json", action="store_true", help="print JSON")
    export = deeds.add_parser("export", help="write the entries with their digests")
    export.add_argument("--format", choices=("csv", "jsonl"), default="jsonl", help="default jsonl")
    export.add_argument("--since", type=since, default=0, help="a moment or a duration (7d)")
    export.add_argument("--until", type=since, help="a moment or a duration")
    export.add_argument("--out", type=Path, metavar="FILE", help="write it here, readable only by you; else printed")


def run(arguments: argparse.Namespace, office: Office) -> int:
    if arguments.deed == "verify":
        return _verify(arguments, office)
    if arguments.deed == "export":
        return _export(arguments, office)
    entries = audit.listing(
        office.ledger(),
        office.actor(),
        subject=arguments.subject,
        action=arguments.action,
        who=arguments.who,
        department=arguments.department,
        since=arguments.since,
        limit=arguments.limit,
    )
    rows = [
        {
            "id": entry.id,
            "at": moment(entry.at),
            "who": entry.who,
            "action": entry.action,
            "subject": entry.subject,
            "department": entry.department,
            "why": entry.why,
            "detail": dict(entry.detail),
            "digest": entry.digest.hex(),
        }
        for entry in entries
    ]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no entries\n")
    else:
        texts = [
            {**row, "detail": json.dumps(row["detail"], ensure_ascii=False) if row["detail"] else ""} for row in rows
        ]
        print_table(texts, _COLUMNS, office.out, right=frozenset({"id"}))
    return FINE


def _verify(arguments: argparse.Namespace, office: Office) -> int:
    verdict = audit.verify(office.ledger(), arguments.head)
    if arguments.json:
        answer = {"ok": verdict.ok, "entries": verdict.entries, "first_bad": verdict.first_bad_id or None}
        print_json({**answer, "reason": verdict.reason, "head": str(verdict.head)}, office.out)
    elif verdict.ok:
        expired = f", {verdict.head.expired} before them expired" if verdict.head.expired else ""
        office.out.write(f"the chain holds: {verdict.entries} entries{expired}\n")
        if verdict.reason:
            office.out.write(f"note:   {verdict.reason}\n")
        office.out.write(f"head:   {verdict.head}\n")
    else:
        office.out.write(f"the chain is broken at entry {verdict.first_bad_id}: {verdict.reason}\n")
        office.out.write(f"head:   {verdict.head}\n")
        office.out.write("remedy: Keep the ledger's file as evidence, and compare it with its last copy.\n")
    return FINE if verdict.ok else NOT_SO


def _export(arguments: argparse.Namespace, office: Office) -> int:
    from forebay_collector.identity.authority import write_private

    out = office.out if arguments.out is None else io.StringIO()
    count = audit.export(
        office.ledger(), office.actor(), out, arguments.format, since=arguments.since, until=arguments.until
    )
    if arguments.out is not None:
        assert isinstance(out, io.StringIO)
        write_private(arguments.out, out.getvalue().encode())
        office.out.write(f"{count} entries in {arguments.out}\n")
    return FINE


def _head(text: str) -> tuple[int, bytes]:
    """`NUMBER:DIGEST`. Raises ArgumentTypeError."""
    number, _, digest = text.partition(":")
    try:
        noted = int(number), bytes.fromhex(digest)
    except ValueError:
        noted = -1, b""
    if noted[0] < 0 or len(noted[1]) != 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not NUMBER:DIGEST as `audit verify` prints it")
    return noted
