"""Make a one-time token with which one agent enrols. It travels like a password: who has it can enrol once as that agent.

examples:
  forebay-collector token --department 市监局 --agent scjg-01 --out scjg-01.token
  forebay-collector token --department 民政局 --agent mzj-01 --expires 2h > mzj-01.token
"""

from __future__ import annotations

import argparse
from pathlib import Path

from forebay_collector.cli.durations import duration
from forebay_collector.cli.listing import moment
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--department", required=True, help="the department whose data the agent sends")
    parser.add_argument("--agent", required=True, help="the agent's name, one for ever")
    parser.add_argument("--expires", type=duration, default="24h", help="how long it can be used (default 24h)")
    parser.add_argument("--reason", default="", metavar="WHY", help="kept in the audit")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it here, readable only by you; else printed")


def run(arguments: argparse.Namespace, office: Office) -> int:
    from forebay_collector.identity.authority import Authority, write_private
    from forebay_collector.service.actor import Actor
    from forebay_collector.service.identity import make_token

    settings = office.settings()
    token = make_token(
        office.ledger(),
        Authority.load(settings.data.identity),
        Actor.local(office.who()),
        arguments.agent,
        arguments.department,
        addresses=settings.addresses,
        life=arguments.expires,
        why=arguments.reason,
    )
    if arguments.out is None:
        office.out.write(token.to_text() + "\n")
        return FINE
    write_private(arguments.out, (token.to_text() + "\n").encode())
    office.out.write(
        f"token for agent {token.agent} of {token.department} in {arguments.out}, until {moment(token.expires_at)}\n"
        f"on the appliance: forebay-agent enroll {arguments.out.name}\n"
    )
    return FINE
