"""The console as a process: beside a collector or within it, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from forebay_collector.console.server import ConsoleServer
from forebay_collector.demo.processes import free_port
from forebay_collector.errors import AddressUnusable, ConfigurationError
from forebay_collector.founding import init
from forebay_collector.ledger import Ledger
from forebay_collector.service import sessions
from forebay_collector.service.actor import Actor
from forebay_collector.settings import ConsoleSettings, Settings
from tests.consoling.people import account

BIN = Path(sys.executable).parent / "forebay-collector"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return init(tmp_path / "data", [f"127.0.0.1:{free_port()}"], console=f"127.0.0.1:{free_port()}")


@contextmanager
def serving(settings: Settings, *roles: str) -> Iterator[subprocess.Popen[str]]:
    chosen = ["--role", ",".join(roles)] if roles else []
    process = subprocess.Popen(
        [BIN, "--data", str(settings.folder), "serve", *chosen], stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def wait_for(settings: Settings, process: subprocess.Popen[str]) -> str:
    """The console's address, once it answers."""
    address = f"http://{settings.console.listen}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        try:
            assert httpx.get(f"{address}/login").status_code == 200
            return address
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the console does not answer")


def test_a_console_alone_runs_beside_whoever_receives_and_loads(settings: Settings) -> None:
    with serving(settings, "receive", "load") as collector:
        _wait_for_port(int(settings.listen.rpartition(":")[2]), collector)
        with serving(settings, "console") as console:
            wait_for(settings, console)
            console.send_signal(signal.SIGTERM)
            assert console.wait(30) == 0
        assert collector.poll() is None
        collector.send_signal(signal.SIGTERM)
        assert collector.wait(60) == 0


def test_receiving_and_loading_are_processes_of_their_own_and_there_is_one_of_each(settings: Settings) -> None:
    with serving(settings, "receive") as receiver, serving(settings, "load") as loader:
        _wait_for_port(int(settings.listen.rpartition(":")[2]), receiver)
        for roles in (["receive"], ["load"], []):
            with serving(settings, *roles) as second:
                assert second.wait(60) == 5
                assert second.stderr is not None
                assert "FB-DATA-IN-USE" in second.stderr.read()
        for process in (loader, receiver):
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def test_one_process_does_all_of_it_and_ends_open_pages_when_it_stops(settings: Settings) -> None:
    with closing(Ledger.open(settings.data.ledger)) as ledger:
        account(ledger, "ops", ["operator"])
        token = sessions.open_session(ledger, Actor("ops", frozenset()))
    with serving(settings) as collector:
        address = wait_for(settings, collector)
        with httpx.Client(base_url=address, cookies={"forebay_session": token}, timeout=30) as http:
            assert "前置机群" in http.get("/", headers={"accept-language": "zh-CN"}).text
            with http.stream("GET", "/", headers={"accept": "text/event-stream"}) as events:
                lines = events.iter_lines()
                assert next(lines) == "retry: 3000"
                began = time.monotonic()
                collector.send_signal(signal.SIGINT)
                assert list(lines) is not None
                assert collector.wait(60) == 0
                assert time.monotonic() - began < 30


def test_a_taken_address_ends_the_start_with_its_reason(settings: Settings) -> None:
    host, _, port = settings.console.listen.rpartition(":")
    with socket.create_server((host, int(port))), serving(settings) as collector:
        assert collector.wait(60) == 3
        assert collector.stderr is not None
        told = collector.stderr.read()
    assert "FB-ADDRESS" in told
    assert "`[console]`" in told


@pytest.mark.parametrize(
    ("console", "key"),
    [
        (ConsoleSettings(listen="0.0.0.0:0"), "console.listen"),
        (ConsoleSettings(listen="console.example:7480"), "console.listen"),
        (ConsoleSettings(listen="127.0.0.1:0", certificate="identity/server.pem"), "console"),
        (ConsoleSettings(listen="127.0.0.1:0", certificate="collector.toml", key="collector.toml"), "console"),
        (ConsoleSettings(listen="127.0.0.1:0", certificate="nothing.pem", key="nothing.key"), "console"),
    ],
)
def test_what_would_send_passwords_in_the_clear_or_has_no_certificate_is_refused(
    settings: Settings, console: ConsoleSettings, key: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ConsoleServer(replace(settings, console=console), lambda *_: None)
    assert refused.value.key == key


def test_an_address_that_is_not_this_machines_is_refused(settings: Settings) -> None:
    console = ConsoleSettings(listen="127.0.0.1:1", certificate="", key="")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        console = replace(console, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(AddressUnusable):
            ConsoleServer(replace(settings, console=console), lambda *_: None)


def _wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the collector does not listen")
