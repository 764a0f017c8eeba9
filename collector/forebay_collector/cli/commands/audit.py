"""List who did what to what, when and why, newest first.

examples:
  forebay-collector audit --since 7d
  forebay-collector audit --action discard --json
"""

from __future__ import annotations

import argparse
import json

from forebay_collector.cli.durations import since
from forebay_collector.cli.listing import moment, print_json, print_table
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE

_COLUMNS = ("at", "who", "action", "subject", "why", "detail")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subject", default="", help="an agent, a stream, or a batch (STREAM EPOCH/SEQ)")
    parser.add_argument("--action", default="", help="token, enroll, revoke, quarantine, replay, discard, …")
    parser.add_argument("--since", type=since, default=0, help="a moment or a duration (7d)")
    parser.add_argument("--limit", type=int, default=100, help="at most so many (default 100)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    entries = office.ledger().audit.listing(
        subject=arguments.subject, action=arguments.action, since=arguments.since, limit=arguments.limit
    )
    rows = [
        {
            "at": moment(entry.at),
            "who": entry.who,
            "action": entry.action,
            "subject": entry.subject,
            "why": entry.why,
            "detail": dict(entry.detail),
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
        print_table(texts, _COLUMNS, office.out)
    return FINE
