"""Connections that made no call are counted, those that did never are, and neither costs much."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from forebay_collector.identity import alarms, handshakes
from forebay_collector.identity.handshakes import GRACE_S, Handshakes, address_of, open_peers
from forebay_collector.ledger import Ledger


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db")
    yield opened
    opened.close()


def told(ledger: Ledger) -> dict[str, int]:
    """How many connections of each address made no call."""
    ledger.refusals.settle(everything=True)
    counts: dict[str, int] = {}
    for entry in ledger.audit.listing(action=alarms.NO_CALL, limit=10_000):
        counts[entry.subject] = counts.get(entry.subject, 0) + int(entry.detail.get("count", 1))
    return counts


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.5:40000", ("10.0.0.5", 40000)),
        ("ipv6:%5B2001:db8::5%5D:40000", ("2001:db8::5", 40000)),
        ("ipv6:[::ffff:10.0.0.5]:40000", ("10.0.0.5", 40000)),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", ("fe80::1", 1)),
        ("unix:/run/x", None),
        ("", None),
    ],
)
def test_peers_are_read_as_grpc_writes_them(peer: str, address: tuple[str, int] | None) -> None:
    assert address_of(peer) == address


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_other_ends_of_our_connections_are_found_and_nothing_is_closed(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    with server, ExitStack() as stack:
        port = server.getsockname()[1]
        clients = [stack.enter_context(socket.create_connection((host, port))) for _ in range(5)]
        ours = [stack.enter_context(server.accept()[0]) for _ in clients]
        assert open_peers(port) == {client.getsockname()[:2] for client in clients}
        assert open_peers(port) == {client.getsockname()[:2] for client in clients}
        for one, client in zip(ours, clients, strict=True):
            one.sendall(b"still open")
            assert client.recv(100) == b"still open"
    assert open_peers(port) == set()


def test_what_makes_a_call_is_not_counted_and_what_does_not_is_after_the_grace(ledger: Ledger, clock: Clock) -> None:
    watched = Handshakes(ledger, clock=clock)
    for number in range(10):
        watched.begun()
        if number % 2:
            watched.called(f"ipv4:10.0.0.1:{number}")
            watched.called(f"ipv4:10.0.0.1:{number}")
    clock.now += GRACE_S - 1
    watched.settle()
    assert told(ledger) == {}
    clock.now += 2
    watched.settle()
    assert told(ledger) == {"unknown address": 5}
    watched.settle()
    assert told(ledger) == {"unknown address": 5}, "each once"


def test_a_connection_that_makes_calls_for_days_never_counts_as_one_that_did_not(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {("10.0.0.1", 1)}
    monkeypatch.setattr(handshakes, "open_peers", lambda port: set(there))
    watched = Handshakes(ledger, clock=clock)
    watched.port = 7443
    watched.begun()
    watched.called("ipv4:10.0.0.1:1")
    for _ in range(1_000):
        clock.now += 97
        watched.settle()
        watched.begun()
        there.add(("10.0.0.2", 2))
        clock.now += 1
        watched.settle()
        watched.called("ipv4:10.0.0.2:2")
        there.discard(("10.0.0.2", 2))
    clock.now += 2 * GRACE_S
    watched.settle()
    assert told(ledger) == {}


def test_an_address_that_is_used_again_after_its_connection_closed_is_seen_again(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: set[tuple[str, int]] = set()
    monkeypatch.setattr(handshakes, "open_peers", lambda port: set(there))
    watched = Handshakes(ledger, clock=clock)
    watched.port = 7443
    for _ in range(3):
        there.add(("10.0.0.1", 1))
        watched.begun()
        watched.called("ipv4:10.0.0.1:1")
        there.clear()
        clock.now += 2 * handshakes._FORGET_EVERY_S
        watched.settle()
    there.add(("10.0.0.1", 1))
    watched.begun()
    there.clear()
    clock.now += GRACE_S + 1
    watched.settle()
    assert told(ledger) == {"10.0.0.1": 1}


def test_many_at_once_are_counted_rightly_though_not_all_by_their_address(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    there: set[tuple[str, int]] = set()
    monkeypatch.setattr(handshakes, "open_peers", lambda port: set(there))
    watched = Handshakes(ledger, clock=clock)
    watched.port = 7443
    silent = 0
    for number in range(2_000):
        clock.now += chance.random() / 50
        address = ("10.0.0.9", number) if chance.random() < 0.1 else ("10.0.0.1", number)
        there.add(address)
        watched.begun()
        if address[0] == "10.0.0.1":
            watched.called(f"ipv4:10.0.0.1:{number}")
        else:
            silent += 1
            there.discard(address)
    clock.now += GRACE_S + 1
    watched.settle()
    counted = told(ledger)
    assert sum(counted.values()) == silent
    assert "10.0.0.1" not in counted
