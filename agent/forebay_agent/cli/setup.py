"""`forebay-agent setup`: from a fresh package to the first row, with a handful of questions."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay_agent.cli import asking, problems

if TYPE_CHECKING:
    from forebay_agent.check.checked import Checked
    from forebay_agent.config.model import SourceConfig

SUMMARY: Final = "ask what is needed, test it, enrol and start"
DESCRIPTION: Final = """\
Asks for the centre's token, the collector's address, the database and its tables; tests each answer, writes the
configuration, gets this appliance's certificate and starts the service. Every answer is also a flag, so that it can be
scripted; what no flag gives is asked for on a terminal. May be run again for another source. Nothing is written before
everything was tested."""
EXAMPLES: Final = """\
examples:
  forebay-agent setup                                      asks
  forebay-agent setup --token join.token --source civil --kind mysql --host 127.0.0.1 --database civil \\
    --user forebay --password-file civil.password --table person --table marriage:cursor:updated_at

  forebay-agent setup --token join.token --export /media/disk    without a line: asks, too

  a table is NAME, NAME:MODE or NAME:cursor:COLUMN; without a mode it is `log` where the database offers that, else snapshot
"""

DEFAULT_STATE: Final = Path("/var/lib/forebay-agent")
_KINDS: Final = ("mysql", "postgresql", "sqlite")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--token", metavar="FILE", help="the centre's token; `-` for standard input")
    parser.add_argument("--collector", action="append", metavar="HOST:PORT", help="instead of the token's addresses")
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="no line leads to the centre: write the request to enrol to a disk"
    )
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="FOLDER", help=f"default {DEFAULT_STATE}")
    parser.add_argument("--source", metavar="NAME", help="what to call the database")
    parser.add_argument("--kind", choices=_KINDS, help="mysql is MariaDB too")
    parser.add_argument("--path", type=Path, metavar="FILE", help="of an SQLite database")
    parser.add_argument("--host", help="of the database server")
    parser.add_argument("--port", type=int, default=0, help="default: the database's own")
    parser.add_argument("--socket", default="", help="instead of --host")
    parser.add_argument("--database", help="the database that the tables are in")
    parser.add_argument("--user", help="the read-only user that the DBA made")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="a file that holds the user's password")
    parser.add_argument("--tls", choices=("off", "preferred", "required", "verify"), default="preferred")
    parser.add_argument("--table", action="append", default=[], metavar="TABLE", help="may be given more than once")
    parser.add_argument("--no-start", action="store_true", help="do not start the service")


def run(options: argparse.Namespace) -> int:
    try:
        return _run(options)
    except asking.NobodyToAsk as missing:
        sys.stderr.write(f"error: there is no terminal to ask at\n  remedy: give {missing}\n")
        return 2


def _run(options: argparse.Namespace) -> int:
    from forebay_agent import founding, identity, owner
    from forebay_agent.cli.enroll import export
    from forebay_agent.config.load import AGENT_FILE, load_agent
    from forebay_agent.enrollment import enroll

    folder: Path = options.config
    state = load_agent(folder).state if (folder / AGENT_FILE).exists() else options.state.absolute()
    enrolled = (state / identity.FOLDER).exists() and options.token is None
    token_text, addresses = "", tuple(options.collector or ())
    if not enrolled:
        token_text, addresses = _centre(options)
    source, password = _database(options)
    source = _tables(options, source, password)
    founding.write(folder, founding.Founded(state, addresses, source, password, options.export is None))
    print(f"written: {folder / AGENT_FILE}, {folder / 'sources.d' / source.name}.toml")
    if not enrolled and options.export is not None:
        return export(token_text, state, addresses, options.export)
    if not enrolled:

        def enrolling() -> None:
            own = enroll(token_text, state, addresses=addresses)
            print(
                f"enrolled as agent {own.agent} of department {own.department}; valid until {own.expires_at:%Y-%m-%d}"
            )

        if code := owner.as_owner(state, enrolling, problems.told):
            return code
    if options.no_start:
        print("next: systemctl enable --now forebay-agent")
        return 0
    from forebay_agent.cli import service

    return service.start()


def _centre(options: argparse.Namespace) -> tuple[str, tuple[str, ...]]:
    """The token as it was read, and the addresses, of which at least one answers where there is a line."""
    from forebay_agent.enrollment import Token

    text = None
    while text is None:
        named = asking.text("file with the centre's token", "--token FILE", options.token)
        text = asking.tried(partial(_look_at_token, named), asked=options.token is None)
    if options.export is not None:
        return text, tuple(options.collector or Token.of(text).addresses)
    addresses = None
    given = ",".join(options.collector) if options.collector else None
    while addresses is None:
        named = asking.text("collector's address", "--collector", given, default=",".join(Token.of(text).addresses))
        addresses = asking.tried(partial(_reach, named, text), asked=given is None)
    return text, addresses


def _look_at_token(named: str) -> tuple[str, str]:
    from forebay_agent.enrollment import usable

    text = _read_token(named)
    token = usable(text)
    return text, f"token for agent {token.agent} of department {token.department}"


def _reach(named: str, token_text: str) -> tuple[tuple[str, ...], str]:
    from forebay_agent import diagnosis
    from forebay_agent.enrollment import Token

    addresses = tuple(part.strip() for part in named.split(",") if part.strip())
    authority = Token.of(token_text).authority.encode()
    failures = [diagnosis.handshake(address, authority, None) for address in addresses]
    if failures and failures[0] is not None and all(failures):
        raise failures[0]
    return addresses, f"{failures.count(None)} of {len(addresses)} addresses answer"


def _read_token(named: str) -> str:
    from forebay_agent.errors import ConfigurationError

    try:
        return sys.stdin.read() if named == "-" else Path(named).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(
            f"cannot be read: {reason}", file=named, remedy="Name the file that the centre gave you."
        ) from None


def _database(options: argparse.Namespace) -> tuple[SourceConfig, str]:
    """The source as it answers, without tables, and its password."""
    asked = None in (options.kind, options.source) or (options.kind != "sqlite" and options.password_file is None)
    found = None
    while found is None:
        found = asking.tried(partial(_connect, *_described(options)), asked=asked)
    return found


def _connect(source: SourceConfig, password: str) -> tuple[tuple[SourceConfig, str], str]:
    from forebay_agent.check.candidate import opened

    with opened(source, password) as session:
        return (source, password), f"connected; server {session.identity()}"


def _described(options: argparse.Namespace) -> tuple[SourceConfig, str]:
    from forebay_agent.config.model import SourceConfig

    name = asking.text("name for the database", "--source NAME", options.source)
    kind = asking.choice("kind of the database", "--kind", options.kind, _KINDS)
    if kind == "sqlite":
        path = asking.text("the database's file", "--path FILE", str(options.path) if options.path else None)
        return SourceConfig(name, kind, "", path=Path(path).absolute()), ""
    host = "127.0.0.1" if options.socket else asking.text("host", "--host", options.host, default="127.0.0.1")
    source = SourceConfig(
        name,
        kind,
        "",
        host=host,
        port=options.port,
        socket=options.socket,
        database=asking.text("database", "--database", options.database),
        user=asking.text("user", "--user", options.user),
        tls=options.tls,
    )
    if options.password_file is not None:
        return source, _read_token(str(options.password_file)).rstrip("\r\n")
    return source, asking.secret(f"password of {source.user}", "--password-file FILE")


def _tables(options: argparse.Namespace, source: SourceConfig, password: str) -> SourceConfig:
    """The source with its tables, each looked at as `check` does."""
    from forebay_agent.check import candidate

    offered = candidate.listed(source, password)
    whole = None
    while whole is None:
        names = asking.several("tables to share (numbers, or all)", "--table TABLE", options.table, offered)
        whole = asking.tried(partial(_look_at_tables, source, password, names), asked=not options.table)
    return whole


def _look_at_tables(source: SourceConfig, password: str, names: list[str]) -> tuple[SourceConfig, str]:
    from forebay_agent.check import candidate
    from forebay_agent.errors import TableMisconfigured

    whole = candidate.with_modes(source, password, [candidate.entry_of(name) for name in names])
    for checked in candidate.check(whole, password):
        _say(checked)
        if checked.severity == "error":
            raise TableMisconfigured(f"{checked.place}: {checked.subject}: {checked.message}", remedy=checked.remedy)
    return whole, ", ".join(f"{table.name} by {table.mode}" for table in whole.tables)


def _say(checked: Checked) -> None:
    if checked.severity in ("warning", "error"):
        print(problems.visible(f"  {checked.severity}: {checked.place}: {checked.subject}: {checked.message}"))
    for line in checked.sql.splitlines():
        print(f"    {problems.visible(line)}")
