"""The agent's `/metrics`: what is served is what is listed, and serving it never gets in the way of anything."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from forebay_agent.metrics.server import REQUEST_SECONDS
from forebay_wire.v1 import upload_pb2
from tests.daemon.agent import PEOPLE, AgentProcess
from tests.daemon.centre import Centre
from tests.daemon.scripted import Script, ScriptedCollector
from tests.monitoring import listing
from tests.monitoring.served import Page
from tests.receiving.batches import DEPARTMENT
from tests.servers.ports import closed_port

MARKS = ("sealed", "durable", "loaded")
SOURCE = {"source": "civil", "stream": str(PEOPLE)}


@pytest.fixture
def script() -> Script:
    return Script(loads=True)


@pytest.fixture
def collector(tmp_path: Path, script: Script) -> Iterator[ScriptedCollector]:
    with ScriptedCollector(tmp_path / "authority", script, Centre(heartbeat_ms=200)) as running:
        yield running


@pytest.fixture
def port() -> int:
    return closed_port()


@pytest.fixture
def agent(tmp_path: Path, collector: ScriptedCollector, port: int) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", collector) as made:
        listen(made, f"127.0.0.1:{port}")
        yield made


def listen(agent: AgentProcess, address: str) -> None:
    file = agent.home / "agent.toml"
    text, _, _ = file.read_text("utf-8").partition("\n[metrics]")
    new = agent.home / "agent.new"
    new.write_text(f'{text}\n[metrics]\nlisten = "{address}"\n' if address else text, "utf-8")
    new.replace(file)


def scrape(port: int) -> Page | None:
    """None where nobody answers."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30)
    except httpx.TransportError:
        return None
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(answer.text)


def page(port: int) -> Page:
    served = scrape(port)
    assert served is not None
    return served


def test_what_is_served_is_what_is_listed_and_what_is_so(
    agent: AgentProcess, port: int, script: Script, collector: ScriptedCollector
) -> None:
    agent.insert(1, 300, text_bytes=40)
    agent.start()
    agent.until(lambda: agent.stream().get("loaded_seq", 0) >= 1)
    agent.until(lambda: bool(page(port).of("forebay_agent_heartbeat_acknowledged_timestamp_seconds")))
    told = page(port)
    told.assert_is(listing.of_agent())
    assert told.of("forebay_agent_info", agent=agent.status()["agent"], department=DEPARTMENT) == [1.0]
    assert told.value("forebay_agent_collector_connected") == 1
    assert told.value("forebay_agent_stream_state", **SOURCE, state="streaming") == 1

    def counted() -> bool:
        """The row at the snapshot's bound may come once more, in a batch of its own."""
        told, came = page(port), list(script.taken[PEOPLE])
        batches = {told.value(f"forebay_agent_stream_batches_{name}_total", **SOURCE) for name in MARKS}
        rows = sum(batch.fields.rows for batch in came)
        return (
            300 <= rows <= 301
            and batches == {told.value("forebay_agent_sealed_batches_total")} == {len(came)}
            and told.value("forebay_agent_stream_rows_captured_total", **SOURCE) == rows
            and told.value("forebay_agent_sealed_rows_total") == rows
            and told.value("forebay_agent_sealing_in_bytes_total") == sum(batch.fields.raw_bytes for batch in came)
            and told.value("forebay_agent_sealing_out_bytes_total") == sum(batch.size for batch in came)
        )

    agent.until(counted)
    told = page(port)
    assert (told.value("forebay_agent_outbox_bytes"), told.value("forebay_agent_outbox_batches")) == (0, 0)
    assert told.of("forebay_agent_stream_log_remaining_seconds") == [], "SQLite keeps no log"
    heard = told.value("forebay_agent_heartbeat_acknowledged_timestamp_seconds")
    assert heard is not None
    assert abs(time.time() - heard) < 30
    expires = told.value("forebay_agent_certificate_expiry_timestamp_seconds")
    assert expires is not None
    assert expires > time.time()

    script.refuse = lambda batch: (upload_pb2.REFUSAL_CODE_CHAIN, "not this one")
    agent.insert(301, 1)
    agent.until(lambda: page(port).value("forebay_agent_stream_state", **SOURCE, state="held") == 1)
    assert page(port).of("forebay_agent_stream_state", **SOURCE) == [1.0], "one state at a time"
    held = page(port).value("forebay_agent_outbox_bytes")
    assert held is not None
    assert held > 0


def test_nobody_listens_unless_it_is_set_and_the_address_follows_the_file_without_a_restart(
    agent: AgentProcess, port: int
) -> None:
    listen(agent, "")
    agent.start()
    agent.until(lambda: agent.stream()["state"] == "streaming")
    assert scrape(port) is None
    listen(agent, f"127.0.0.1:{port}")
    agent.until(lambda: scrape(port) is not None)
    other = closed_port()
    listen(agent, f"127.0.0.1:{other}")
    agent.until(lambda: scrape(other) is not None)
    assert scrape(port) is None
    listen(agent, "")
    agent.until(lambda: scrape(other) is None)
    assert agent.end() == 0


def test_an_address_that_is_taken_stops_nothing_and_is_told_once(agent: AgentProcess, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        agent.insert(1, 5)
        agent.start()
        agent.until(lambda: agent.stream().get("durable_seq", 0) >= 1)
        agent.until(lambda: "metrics are not told for now" in agent.log.read_text("utf-8"))
        agent.insert(6, 5)
        agent.until(lambda: agent.stream().get("durable_seq", 0) >= 2)
    agent.until(lambda: scrape(port) is not None)
    assert agent.log.read_text("utf-8").count("metrics are not told for now") == 1
    assert agent.end() == 0


def test_who_says_nothing_too_much_or_something_else_does_not_keep_the_next_one_waiting(
    agent: AgentProcess, port: int
) -> None:
    agent.start()
    agent.until(lambda: scrape(port) is not None)
    with contextlib.ExitStack() as idle:
        for _ in range(3):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert scrape(port) is not None, f"after at most 3 times {REQUEST_SECONDS} s"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as chatty:
        with contextlib.suppress(OSError):
            chatty.sendall(b"GET /metrics HTTP/1.1\r\n" + b"".join(b"X: %01000d\r\n" % 0 for _ in range(64)) + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert chatty.recv(1) == b"", "no answer"
    assert httpx.get(f"http://127.0.0.1:{port}/", timeout=30).status_code == 404
    assert httpx.post(f"http://127.0.0.1:{port}/metrics", timeout=30).status_code == 405
    assert scrape(port) is not None
    agent.insert(1, 5)
    agent.until(lambda: agent.stream().get("durable_seq", 0) >= 1)
