"""`forebay-agent snapshot` refuses what would never come about, and keeps who asked for what and why."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import LogGap
from forebay_agent.log.stream import LOG, parking
from forebay_agent.outbox import LogRecord, Outbox, StreamPut
from forebay_agent.pipeline import checkpoint_of
from forebay_wire.key_range import KeyRange
from forebay_wire.stream import StreamName

PROGRAM = Path(sys.executable).with_name("forebay-agent")
LOGGED = StreamName("数据局", "shop", "shop.orders")
POLLED = StreamName("数据局", "shop", "shop.customers")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An agent that has run and does not run now."""
    (tmp_path / "sources.d").mkdir()
    (tmp_path / "agent.toml").write_text('[agent]\nstate = "state"\n[outbox]\nfree_disk = "64KiB"\n')
    (tmp_path / "sources.d" / "shop.toml").write_text(
        'kind = "mysql"\nuser = "forebay"\n[[table]]\nname = "shop.orders"\nmode = "log"\n'
        '[[table]]\nname = "shop.customers"\nmode = "snapshot"\n'
    )
    (tmp_path / "state").mkdir()
    with closing(outbox_of(tmp_path)) as outbox:
        for name in (LOGGED, POLLED):
            before = outbox.stream(name)
            after = replace(before, checkpoint=checkpoint_of(before).advanced(phase=LOG).to_json())
            outbox.put_log("数据局", "shop", [StreamPut(before, after, ())], LogRecord("1", frozenset()), open=False)
    return tmp_path


def outbox_of(home: Path) -> Outbox:
    return Outbox.open(home / "state", OutboxConfig(free_disk=0))


def snapshot(home: Path, name: StreamName, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "--config", str(home), "snapshot", str(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_table_is_taken_anew_under_its_next_epoch(home: Path) -> None:
    done = snapshot(home, LOGGED, "--reason", "binlog was purged")
    assert (done.returncode, done.stdout) == (0, f"{LOGGED}: epoch 2 begins with a new snapshot\n")
    with closing(outbox_of(home)) as outbox, closing(outbox.reader()) as reader:
        assert outbox.stream(LOGGED).epoch == 2
        assert [reset.why for reset in reader.resets()] == ["binlog was purged"]


def test_a_range_is_asked_for_with_its_bounds(home: Path) -> None:
    assert snapshot(home, LOGGED, "--from", "5", "--reason", "rows differ").returncode == 0
    with closing(outbox_of(home)) as outbox:
        (request,) = outbox.range_requests("数据局", "shop")
        assert (request.name, request.key_range, request.why) == (LOGGED, KeyRange("5", None), "rows differ")


def test_a_range_of_a_held_stream_is_refused_for_nobody_would_ever_take_it_up(home: Path) -> None:
    with closing(outbox_of(home)) as outbox:
        before = outbox.stream(LOGGED)
        after = replace(before, checkpoint=parking(checkpoint_of(before), LogGap("gone")).to_json())
        outbox.put_log("数据局", "shop", [StreamPut(before, after, ())], LogRecord("1", frozenset()), open=False)
    refused = snapshot(home, LOGGED, "--from", "5", "--reason", "rows differ")
    assert refused.returncode == 2
    assert "is held" in refused.stderr
    assert "leave --from and --through out" in refused.stderr
    assert snapshot(home, LOGGED, "--reason", "rows differ").returncode == 0


@pytest.mark.parametrize(
    ("name", "arguments", "code", "says"),
    [
        (POLLED, ("--from", "5", "--reason", "x"), 2, "only a stream in mode log"),
        (LOGGED, ("--reason", " "), 2, "--reason is empty"),
        (LOGGED, ("--from", "5" * 100_000, "--reason", "x"), 2, "shorter"),
        (StreamName("数据局", "shop", "shop.none"), ("--reason", "x"), 1, str(LOGGED)),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(
    home: Path, name: StreamName, arguments: tuple[str, ...], code: int, says: str
) -> None:
    refused = snapshot(home, name, *arguments)
    assert refused.returncode == code
    assert says in refused.stderr
    assert "remedy:" in refused.stderr
    with closing(outbox_of(home)) as outbox:
        assert outbox.range_requests("数据局", "shop") == []
        assert outbox.stream(LOGGED).epoch == 1
