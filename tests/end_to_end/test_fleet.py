"""The fleet end to end: real agents and a real collector; people ask on the command line, and the agents do it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from forebay_collector.demo.departments import Department
from forebay_collector.demo.fleet import Fleet, Site
from tests.end_to_end.conftest import SMALL_ENTERPRISES, SMALL_LOW_INCOME, assert_equal, canary, collector

SiteOf = Callable[[Department], Site]
FIRST, SECOND = SMALL_LOW_INCOME.agent, SMALL_ENTERPRISES.agent
HEARTBEAT_S = 2


def in_json(fleet: Fleet, *arguments: str, code: int = 0) -> Any:
    ended = collector(fleet, *arguments, "--json")
    assert ended.returncode == code, ended.stdout + ended.stderr
    return json.loads(ended.stdout)


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


def state(fleet: Fleet, agent: str) -> str:
    return next((str(row["state"]) for row in in_json(fleet, "agents") if row["agent"] == agent), "")


def settings(fleet: Fleet, **control: str) -> None:
    """Sets what `init` wrote commented out."""
    path = fleet.data / "collector.toml"
    lines = path.read_text("utf-8").splitlines()
    for key, value in control.items():
        (place,) = (number for number, line in enumerate(lines) if line.startswith(f"#{key} = "))
        lines[place] = f'{key} = "{value}"'
    path.write_text("\n".join(lines), "utf-8")


def effect(fleet: Fleet, *arguments: str) -> str:
    return str(in_json(fleet, "command", *arguments)["effect"])


def test_agents_are_green_do_what_they_are_asked_and_all_of_it_is_in_the_audit(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    canary(site, "read", "1s")
    fleet.start()
    until(lambda: state(fleet, FIRST) == "green")
    until(lambda: any(one["round_trip"] for one in in_json(fleet, "agents", "show", FIRST)["canaries"]))
    (stream,) = in_json(fleet, "agents", "show", FIRST)["stream_states"]

    pause = effect(fleet, "pause", FIRST, "--reason", "maintenance")
    until(lambda: state(fleet, FIRST) == "grey")
    resume = effect(fleet, "resume", FIRST, "--reason", "it is over")
    until(lambda: state(fleet, FIRST) == "green")
    reload = effect(fleet, "reload", FIRST, "--reason", "a file was changed")
    snapshot = effect(fleet, "snapshot", stream["stream"], "--reason", "repaired by hand")
    drain = effect(fleet, "drain", FIRST)
    file = fleet.folder / "diagnostics.tar.zst"
    ended = collector(fleet, "command", "diagnostics", FIRST, "--out", str(file))
    assert ended.returncode == 0, ended.stderr
    assert file.read_bytes()[:4] == b"\x28\xb5\x2f\xfd", "zstandard"
    missing = collector(fleet, "command", "pause", FIRST, "--source", "nowhere", "--reason", "x")
    assert missing.returncode == 1, missing.stdout
    assert "nowhere" in missing.stderr

    audited = in_json(fleet, "audit", "--subject", FIRST)
    answered = {entry["why"] for entry in audited if entry["action"] == "command done" and entry["who"] == FIRST}
    assert {pause, resume, reload, snapshot, drain} <= answered
    assert [entry for entry in audited if entry["action"] == "command failed"]
    assert {"maintenance", "it is over"} <= {entry["why"] for entry in audited if entry["action"] == "command"}
    assert_equal(fleet)


def test_a_killed_agent_is_red_within_two_heartbeats_and_green_again_when_it_is_back(
    fleet: Fleet, site_of: SiteOf
) -> None:
    site = site_of(SMALL_LOW_INCOME)
    settings(fleet, heartbeat=f"{HEARTBEAT_S}s")
    fleet.start()
    until(lambda: state(fleet, FIRST) == "green")
    site.agent.kill()
    killed = time.time()
    looks: list[Any] = []

    def red() -> bool:
        looks.append(next(row for row in in_json(fleet, "agents") if row["agent"] == FIRST))
        return bool(looks[-1]["state"] == "red")

    until(red)
    # by what each look knew, and not by a clock beside it, which would count how long a command takes; a look reads the
    # time once more, a moment after it judged
    assert all(look["silent_seconds"] < 2 * HEARTBEAT_S + 0.5 for look in looks[:-1])
    assert looks[-1]["silent_seconds"] > 2 * HEARTBEAT_S
    # what was on its way when it was killed may come in after it, and nothing else
    assert datetime.fromisoformat(looks[-1]["last_seen"]).timestamp() < killed + HEARTBEAT_S
    told = next(row["why"] for row in in_json(fleet, "agents") if row["agent"] == FIRST)
    assert told[0]["code"] == "FB-AGENT-SILENT"
    site.agent.start()
    until(lambda: state(fleet, FIRST) == "green")


def test_an_offer_is_tried_at_one_agent_then_given_to_the_rest_and_stopped_where_it_would_widen(
    fleet: Fleet, site_of: SiteOf
) -> None:
    for department in (SMALL_LOW_INCOME, SMALL_ENTERPRISES):
        site_of(department)
    settings(fleet, heartbeat="1s", trial="3s")
    fleet.start()
    until(lambda: [state(fleet, agent) for agent in (FIRST, SECOND)] == ["green", "green"])
    good = ["--set", "collector.bandwidth=1MiB/s", "--reason", "the line is shared by day"]
    made = in_json(fleet, "offer", "make", FIRST, SECOND, *good)
    assert [(one["agent"], one["first"]) for one in made["offers"]] == [(FIRST, True), (SECOND, False)]
    done = in_json(fleet, "offer", "status", str(made["rollout"]), "--wait", "60s")
    assert (done["state"], {one["state"] for one in done["offers"]}) == ("done", {"applied"})
    first, second = (next(one for one in done["offers"] if one["agent"] == agent) for agent in (FIRST, SECOND))
    assert second["sent"] > first["decided"]
    shown = until(lambda: (row := in_json(fleet, "agents", "show", SECOND))["offer_in_force"] and row)
    assert shown["settings_offered"] == {"collector.bandwidth": "1MiB/s"}
    assert shown["configuration"]["collector"]["bandwidth"]

    wide = ["--set", f"source.{SMALL_LOW_INCOME.source}.database=/etc/shadow", "--reason", "x"]
    made = in_json(fleet, "offer", "make", FIRST, SECOND, *wide)
    stopped = in_json(fleet, "offer", "status", str(made["rollout"]), "--wait", "60s", code=1)
    assert stopped["state"] == "stopped"
    assert {one["agent"]: one["state"] for one in stopped["offers"]} == {FIRST: "failed", SECOND: "cancelled"}
    until(lambda: state(fleet, FIRST) == "yellow")
    assert in_json(fleet, "agents", "show", FIRST)["settings_offered"] == {"collector.bandwidth": "1MiB/s"}
    assert state(fleet, SECOND) == "green"
    assert_equal(fleet)
