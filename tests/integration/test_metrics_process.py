"""A collector's processes tell their metrics at an address of their own: on the loopback, and over TLS for tokens."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from forebay_collector.demo.processes import Daemon, program
from forebay_collector.founding import init
from forebay_collector.identity.authority import CERTIFICATE_FILE
from forebay_collector.ledger import Ledger
from forebay_collector.service import tokens, users
from forebay_collector.settings import Settings
from tests.consoling.people import ROOT
from tests.monitoring import listing
from tests.monitoring.served import Page
from tests.servers.ports import closed_port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return init(tmp_path / "data", [f"127.0.0.1:{closed_port()}"])


@contextmanager
def serving(settings: Settings, role: str, **metrics: str) -> Iterator[Daemon]:
    """A process of this role, with these settings of `[metrics]`."""
    file = settings.data.settings
    told = "".join(f'{name} = "{value}"\n' for name, value in metrics.items())
    file.write_text(file.read_text("utf-8").replace("[metrics]\n", f"[metrics]\n{told}"), "utf-8")
    command = [program("forebay-collector"), "--data", str(settings.folder), "serve", "--role", role]
    daemon = Daemon("collector", command, settings.folder.parent / "serve.log")
    daemon.start()
    yield daemon
    daemon.stop()


def ask(daemon: Daemon, address: str, verify: ssl.SSLContext | bool = True, token: str = "") -> httpx.Response:
    """The answer, once there is one."""
    deadline = time.monotonic() + 60
    headers = {"authorization": f"Bearer {token}"} if token else {}
    while True:
        daemon.check()
        try:
            return httpx.get(f"{address}/metrics", headers=headers, verify=verify, timeout=30)
        except httpx.ConnectError:
            assert time.monotonic() < deadline, daemon.log.read_text("utf-8")
            time.sleep(0.1)


@pytest.mark.parametrize("role", ["receive", "load"])
def test_a_process_without_a_console_tells_what_is_listed(settings: Settings, role: str) -> None:
    port = closed_port()
    with serving(settings, role, listen=f"127.0.0.1:{port}") as daemon:
        answer = ask(daemon, f"http://127.0.0.1:{port}")
        assert answer.status_code == 200
        told = Page(answer.text)
        told.assert_is(listing.of_collector())
        assert told.of("forebay_collector_info", roles=role) == [1.0]
        silent = told.value("forebay_collector_thread_idle_seconds_max")
        assert silent is not None, "it has threads"
        assert silent < 60
        (entries,) = told.of("forebay_collector_audit_entries_total")
        assert entries >= 0
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=30).status_code == 404


def test_over_tls_only_a_token_opens(settings: Settings) -> None:
    ledger = Ledger.open(settings.data.ledger)
    users.create(ledger, ROOT, "prometheus", ["viewer"], None)
    token = tokens.make_token(ledger, ROOT, "scrapes", roles=["viewer"], account="prometheus").text
    ledger.close()
    port = closed_port()
    own = {"certificate": "identity/server.pem", "key": "identity/server.pem"}
    trusted = ssl.create_default_context(cafile=settings.data.identity / CERTIFICATE_FILE)
    with serving(settings, "receive", listen=f"0.0.0.0:{port}", **own) as daemon:
        address = f"https://127.0.0.1:{port}"
        assert ask(daemon, address, trusted).status_code == 401
        assert ask(daemon, address, trusted, "fba1_guessed").status_code == 401
        told = ask(daemon, address, trusted, token)
        assert told.status_code == 200
        Page(told.text).assert_is(listing.of_collector())
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30)
    assert token not in daemon.log.read_text("utf-8")
