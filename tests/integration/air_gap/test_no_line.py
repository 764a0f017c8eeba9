"""An appliance that is told that no line leads to its centre looks for none, and calls nothing wrong that is not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay_agent.check.everything import check_everything
from forebay_agent.config.load import load
from forebay_agent.config.model import CollectorConfig
from forebay_agent.entrance import Entrance
from forebay_agent.errors import CollectorUnreachable
from forebay_agent.pulse import Pulses
from forebay_agent.renewal import Renewal
from forebay_collector.settings import load_settings
from tests.daemon.by_disk import IN_ITS_LAST_THIRD, Centre, captured, enrol, proposed, round_trip
from tests.daemon.isolated import Isolated
from tests.end_to_end.proxy import Proxy


@pytest.fixture
def way(centre: Centre) -> Iterator[Proxy]:
    """Where the appliance would look for its centre."""
    with Proxy(int(load_settings(centre.folder).listen.rpartition(":")[2])) as proxy:
        yield proxy


def _says(appliance: Isolated, line: bool, way: Proxy) -> None:
    file = appliance.home / "agent.toml"
    before, _, _ = file.read_text("utf-8").partition("[collector]")
    file.write_text(
        f'{before}[collector]\naddresses = ["127.0.0.1:{way.port}"]\nline = {str(line).lower()}\n', encoding="utf-8"
    )


def _status(appliance: Isolated, part: str) -> Any:
    file = appliance.state / "status.json"
    return json.loads(file.read_bytes())[part] if file.exists() else {}


def _connection(appliance: Isolated) -> tuple[str, str]:
    """What `check` says of it: severity, message."""
    told = next(each for each in check_everything(load(appliance.home), "") if each.subject == "connection")
    return told.severity, told.message


def test_nobody_looks_for_a_line_until_one_is_there(
    centre: Centre, appliance: Isolated, way: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    _says(appliance, False, way)
    appliance.insert(1, 10)
    enrol(appliance, centre)
    centre.serve()
    appliance.start()
    appliance.until(lambda: proposed(appliance))
    round_trip(appliance, centre)
    appliance.until(lambda: captured(appliance) == 10)
    round_trip(appliance, centre)
    appliance.until(lambda: _status(appliance, "streams")[0]["durable_seq"] > 0)
    assert _status(appliance, "outbox")["batches"] == 0
    assert _connection(appliance) == ("ok", "there is no line (`collector.line`): all is carried on a disk")
    capsys.readouterr()
    assert appliance.command("status") == 0
    said = capsys.readouterr().out
    assert "there is no line: what waits is carried on a disk" in said
    assert "NOT CONNECTED" not in said
    assert way.accepted == 0
    _says(appliance, True, way)
    appliance.insert(11, 10)
    appliance.until(lambda: _status(appliance, "uplink")["connected"])
    appliance.until(lambda: captured(appliance) == 20 and _status(appliance, "outbox")["batches"] == 0)
    assert _connection(appliance)[0] == "ok"
    assert "answers and takes" in _connection(appliance)[1]
    _says(appliance, False, way)
    appliance.until(lambda: not _status(appliance, "uplink")["line"])
    assert not _status(appliance, "uplink")["connected"]
    log = appliance.log.read_text("utf-8")
    assert "uplink waits" not in log
    assert "control waits" not in log


def test_an_outbox_that_was_full_takes_batches_again_when_the_answer_made_room(
    centre: Centre, appliance: Isolated, way: Proxy
) -> None:
    _says(appliance, False, way)
    file = appliance.home / "agent.toml"
    file.write_text(file.read_text("utf-8").replace("[outbox]\n", '[outbox]\ncap = "1MiB"\n'), "utf-8")
    enrol(appliance, centre)
    centre.serve()
    appliance.start()
    appliance.until(lambda: proposed(appliance))
    round_trip(appliance, centre)
    first, step = 1, 20_000
    while not _status(appliance, "outbox")["full"]:
        appliance.insert(first, step)
        first += step
        appliance.until(lambda: captured(appliance) == first - 1 or _status(appliance, "outbox")["full"])  # noqa: B023
    assert captured(appliance) < first - 1
    appliance.until(lambda: round_trip(appliance, centre) is not None and captured(appliance) == first - 1)


def test_a_certificate_that_is_renewed_on_a_disk_is_no_trouble_until_its_end_is_near(
    centre: Centre,
    appliance: Isolated,
    way: Proxy,
    certificates_of: Callable[[timedelta], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    _says(appliance, False, way)
    certificates_of(IN_ITS_LAST_THIRD)
    enrol(appliance, centre)
    appliance.start()
    appliance.until(lambda: _status(appliance, "certificate").get("expires_at_us", 0) > 0)
    assert _status(appliance, "certificate")["code"] == ""
    capsys.readouterr()
    assert appliance.command("status") == 0
    said = capsys.readouterr().out
    assert "two rounds of the disk before then renew it" in said
    assert "NOT RENEWED" not in said
    told = next(each for each in check_everything(load(appliance.home), "") if each.subject == "certificate")
    assert "outbox export DIR" in told.remedy
    assert way.accepted == 0
    for line in (False, True):
        config = CollectorConfig(line=line, addresses=("127.0.0.1:1",))
        renewal = Renewal(appliance.state, config, Entrance(appliance.state), Pulses(time.monotonic), lambda: None)
        with pytest.raises(CollectorUnreachable) if line else nullcontext():
            renewal.step()
        assert (renewal.state.trouble is not None) is line


def test_the_files_that_setup_writes_for_a_disk_say_that_there_is_no_line(tmp_path: Path) -> None:
    from forebay_agent.founding import agent_toml

    for line in (True, False):
        (tmp_path / "agent.toml").write_text(agent_toml(tmp_path / "state", ["127.0.0.1:7443"], line), "utf-8")
        assert load(tmp_path).collector.line is line
