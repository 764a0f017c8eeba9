"""Receive, load and control until told to stop (SIGTERM or SIGINT).

One process does all of it unless --role says otherwise. Ready when the service manager hears READY, or when the log says
so; the log goes to stderr, one line per event.

examples:
  forebay-collector serve
  forebay-collector --data /srv/forebay serve --role receive
"""

from __future__ import annotations

import argparse

from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--role",
        action="append",
        choices=("receive", "load"),
        help="do only this; may be given more than once (default: everything)",
    )


def run(arguments: argparse.Namespace, office: Office) -> int:
    from forebay_collector.pipeline import Role
    from forebay_collector.serve import ALL_ROLES, serve

    serve(office.settings(), frozenset(map(Role, arguments.role)) if arguments.role else ALL_ROLES)
    return FINE
