"""Receive, load, control and show until told to stop (SIGTERM or SIGINT).

One process does all of it unless --role says otherwise. Ready when the service manager hears READY, or when the log says
so; the log goes to stderr, one line per event.

examples:
  forebay-collector serve
  forebay-collector --data /srv/forebay serve --role receive
"""

from __future__ import annotations

import argparse
from typing import Final

from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE

_ROLES: Final = ("receive", "load", "console")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--role",
        type=_roles,
        default=_ROLES,
        metavar="ROLE[,ROLE]",
        help="do only this: receive, load, console (default: everything)",
    )


def run(arguments: argparse.Namespace, office: Office) -> int:
    from forebay_collector.pipeline import Role
    from forebay_collector.serve import serve

    serve(office.settings(), frozenset(map(Role, arguments.role)))
    return FINE


def _roles(text: str) -> tuple[str, ...]:
    roles = tuple(text.split(","))
    unknown = [role for role in roles if role not in _ROLES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no role; there are {', '.join(_ROLES)}")
    return roles
