"""`init`: makes a collector's data folder. What is there already stays as it is; only what is missing is made."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from forebay_collector.errors import ConfigurationError, DataFolderUnusable, NotPossible
from forebay_collector.identity.authority import CERTIFICATE_FILE, KEY_FILE, Authority, host_of, write_private
from forebay_collector.identity.server import SERVER_FILE, renew_server_certificate
from forebay_collector.ledger import Ledger
from forebay_collector.setting_template import template
from forebay_collector.setting_texts import address
from forebay_collector.settings import (
    DEFAULT_PORT,
    ApprovalSettings,
    DataFolder,
    Settings,
    load_settings,
)


def init(folder: Path, addresses: Sequence[str], approve: str = "", console: str = "") -> Settings:
    """Makes folder, settings, certificate authority, server certificate and ledger. May be run again.

    `addresses`: where agents will reach the collector, `host` or `host:port`. `approve`: auto or manual; manual when empty.
    `console`: where the console listens, `host:port`; the default when empty.

    Raises:
        ConfigurationError: an address cannot be used.
        NotPossible: the folder is already a collector's, with other addresses or another way to approve.
        DataFolderUnusable: it cannot be made or written, or holds half an authority.
    """
    wanted = tuple(_with_port(text) for text in addresses)
    data = DataFolder(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.identity.mkdir(mode=0o700, exist_ok=True)
        if not data.settings.exists():
            _write_settings(data, wanted, approve or ApprovalSettings().mode, console)
        settings = load_settings(folder)
        if wanted and settings.addresses != wanted:
            raise NotPossible(
                f"{folder} is a collector already, reached at {', '.join(settings.addresses)}",
                remedy=f"Edit `addresses` in {data.settings}, or choose another folder.",
            )
        if approve and settings.approval.mode != approve:
            raise NotPossible(
                f"{folder} is a collector already, which approves in mode {settings.approval.mode}",
                remedy=f"Edit `mode` of `[approval]` in {data.settings}, and start the collector again.",
            )
        authority = _authority(data.identity)
        if not (data.identity / SERVER_FILE).exists():
            renew_server_certificate(data.identity, authority, settings.addresses)
    except OSError as error:
        raise DataFolderUnusable(f"{error.filename or folder}: {error.strerror}") from None
    Ledger.open(data.ledger).close()
    return settings


def _write_settings(data: DataFolder, addresses: tuple[str, ...], approve: str, console: str) -> None:
    if not addresses:
        raise ConfigurationError(
            "no address is given", key="addresses", remedy="Say where agents will reach the collector: --address."
        )
    given: dict[str, object] = {"addresses": addresses, "listen": _listen(addresses), "approval.mode": approve}
    if console:
        given["console.listen"] = _console(console)
    write_private(data.settings, template(given).encode())


def _console(listen: str) -> str:
    try:
        return address(listen)
    except ValueError as error:
        raise ConfigurationError(f"{listen!r}: {error}", key="console.listen") from None


def _authority(folder: Path) -> Authority:
    held = [(folder / name).exists() for name in (CERTIFICATE_FILE, KEY_FILE)]
    if any(held):
        # never made anew over a half: every agent's certificate hangs on it
        return Authority.load(folder)
    return Authority.create(folder)


def _with_port(text: str) -> str:
    host = host_of(text)
    bare = host if ":" not in host else f"[{host}]"
    try:
        return address(f"{bare}:{DEFAULT_PORT}" if text in (host, bare) else text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r}: {error}", key="addresses") from None


def _listen(addresses: tuple[str, ...]) -> str:
    """The port of the first address; on the loopback only when no address is any other."""
    port = addresses[0].rpartition(":")[2]
    hosts = [host_of(one) for one in addresses]
    if all(_is_loopback(host) for host in hosts):
        return addresses[0]
    return f"[::]:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
