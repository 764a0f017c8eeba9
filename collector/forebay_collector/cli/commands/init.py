"""Make a collector: its folder, settings, ledger, certificate authority and server certificate.

Run by root it acts as the user whom the folder belongs to, which the package made: the service can read what it makes.

May be run again: what is there stays as it is, only what is missing is made. The address is where agents will reach the
collector; it goes into the server's certificate and into every token.

What agents would share leaves them when it was approved here (`forebay-collector approvals`). With `--approve auto`
everything that they propose is approved at once, and recorded as such: for demonstrations and trials.

examples:
  forebay-collector init --address collector.city.example:7443
  forebay-collector --data /srv/forebay init --address 10.20.0.5:7443 --address [2001:db8::5]:7443
  forebay-collector --data ./trial init --address 127.0.0.1 --approve auto
"""

from __future__ import annotations

import argparse

from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.settings import APPROVAL_MODES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        action="append",
        required=True,
        metavar="HOST[:PORT]",
        help="where agents reach the collector; may be given more than once",
    )
    parser.add_argument("--approve", choices=APPROVAL_MODES, default="", help="who approves (default manual: people)")
    parser.add_argument(
        "--console", default="", metavar="HOST:PORT", help="where the web page is (default 127.0.0.1:7480)"
    )


def run(arguments: argparse.Namespace, office: Office) -> int:
    from forebay_collector.cli.owner import become
    from forebay_collector.founding import init

    become(office.data)
    settings = init(office.data, arguments.address, arguments.approve, arguments.console)
    office.out.write(
        f"collector in {settings.folder}\n"
        f"  agents reach it at  {', '.join(settings.addresses)}\n"
        f"  it listens on       {settings.listen}\n"
        f"  console on          {settings.console.listen}\n"
        f"  approval            {settings.approval.mode}\n"
        f"  settings            {settings.data.settings}\n"
        "next: forebay-collector token --department D --agent A --out A.token; forebay-collector serve\n"
    )
    return FINE
