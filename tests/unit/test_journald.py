"""What journald gets of an event, on both sides: a real datagram socket stands for journald's."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay_agent import journald as of_agent
from forebay_collector import journald as of_collector

STREAM = "市监局/civil/person"


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(10)
        yield path, server


def fields(datagram: bytes) -> dict[str, str]:
    """As journald reads it (systemd's native protocol)."""
    read = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        read[name.decode()] = value.decode()
        datagram = rest
    return read


def record(message: str, *arguments: object, level: int = logging.INFO, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("forebay.test", level, __file__, 1, message, arguments, None)
    made.__dict__.update(more)
    return made


def test_the_agents_fields_are_fields_and_a_batch_has_its_name(listening: tuple[Path, socket.socket]) -> None:
    path, server = listening
    handler = of_agent.JournaldHandler(logging.Formatter("%(message)s"), path)
    handler.emit(record("%s", "batch refused", level=logging.ERROR, fields={"stream": STREAM, "epoch": 1, "seq": 42}))
    handler.close()
    told = fields(server.recv(1 << 16))
    assert told["FOREBAY_STREAM"] == STREAM
    assert told["FOREBAY_BATCH"] == "1/42"
    assert (told["FOREBAY_EVENT"], told["PRIORITY"]) == ("batch refused", "3")


def test_the_collectors_fields_are_what_its_text_names(listening: tuple[Path, socket.socket]) -> None:
    path, server = listening
    handler = of_collector.JournaldHandler(logging.Formatter("%(message)s"), path)
    handler.emit(record("%s broke stream=%s code=%s after %.1f s", "it", STREAM, "FB-X", 2.5, level=logging.WARNING))
    handler.close()
    told = fields(server.recv(1 << 16))
    assert told["FOREBAY_STREAM"] == STREAM
    assert (told["FOREBAY_CODE"], told["PRIORITY"]) == ("FB-X", "4")
    assert told["MESSAGE"] == f"it broke stream={STREAM} code=FB-X after 2.5 s"


def test_a_value_of_several_lines_stays_one_value(listening: tuple[Path, socket.socket]) -> None:
    path, server = listening
    handler = of_agent.JournaldHandler(logging.Formatter("%(message)s"), path)
    handler.emit(record("%s", "held", fields={"reason": "first\nPRIORITY=0\nlast", "stream": STREAM}))
    handler.close()
    told = fields(server.recv(1 << 16))
    assert told["FOREBAY_REASON"] == "first\nPRIORITY=0\nlast"
    assert (told["PRIORITY"], told["FOREBAY_STREAM"]) == ("6", STREAM)


def test_where_journald_is_gone_the_line_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = of_agent.JournaldHandler(logging.Formatter("%(message)s"), tmp_path / "nobody")
    handler.emit(record("%s", "still said", fields={}))
    handler.close()
    assert capsys.readouterr().err == "still said\n"


@pytest.mark.parametrize("side", [of_agent, of_collector], ids=["agent", "collector"])
def test_only_journalds_own_stream_counts(side: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leads_there = side.leads_there  # type: ignore[attr-defined]
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        found = os.fstat(stream.fileno())
        assert leads_there({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not leads_there({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not leads_there({})
