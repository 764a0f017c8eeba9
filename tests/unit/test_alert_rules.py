"""Every shipped alert fires when its condition holds, clears when it does not any more, and is silent when all is well.

Time begins at 0, so moments are small numbers; each series has one value a minute.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from forebay_collector.alerts.kinds import KINDS
from forebay_collector.alerts.settings import AlertSettings
from forebay_collector.service import standing
from tests.monitoring import listing, rules
from tests.monitoring.prometheus import promtool
from tests.monitoring.rules import Series, case

AGENT: Final = {"department": "市监局", "agent": "scjg-01"}
OTHER: Final = {"department": "民政局", "agent": "mzj-01"}
SOURCE: Final = {**AGENT, "source": "登记库"}
STREAM: Final = {**SOURCE, "stream": "市监局/登记库/public.企业"}
OTHER_STREAM: Final = {**OTHER, "source": "救助库", "stream": "民政局/救助库/public.低保"}
TWICE: Final = ({"instance": "a:1"}, {"instance": "b:1"})
"""two processes over one ledger"""
DAY: Final = 86_400


def of_agent(name: str, values: str, labels: dict[str, str] = AGENT) -> list[Series]:
    """As two processes tell it."""
    return [Series(f"forebay_collector_agent_{name}", labels | process, values) for process in TWICE]


def of_stream(name: str, values: str, labels: dict[str, str] = STREAM) -> list[Series]:
    return [Series(f"forebay_collector_stream_{name}", labels | process, values) for process in TWICE]


def of_canary(name: str, values: str) -> list[Series]:
    return [Series(f"forebay_collector_canary_{name}", SOURCE | process, values) for process in TWICE]


def beats(values: str, labels: dict[str, str] = AGENT) -> list[Series]:
    return of_agent("last_heartbeat_timestamp_seconds", values, labels) + of_agent(
        "heartbeat_interval_seconds", "15+0x40", labels
    )


def moving(sealed: str, loaded: str, *, waiting: str = "0+0x60", labels: dict[str, str] = STREAM) -> list[Series]:
    return [
        *of_stream("batches_sealed_total", sealed, labels),
        *of_stream("batches_loaded_total", loaded, labels),
        *of_stream("waiting", waiting, labels),
    ]


CASES: Final = (
    case(
        "an agent that stops beating is silent until it beats again; one that beats is not",
        "ForebayAgentSilent",
        beats("0+60x10 600+0x8 1200+60x20") + beats("0+60x40", OTHER),
        {"10m": [], "11m": [], "13m": [AGENT], "19m": [AGENT], "21m": [], "30m": []},
    ),
    case(
        "an agent that never came in is not silent",
        "ForebayAgentSilent",
        of_agent("connected", "0+0x40"),
        {"30m": []},
    ),
    case(
        "a stream whose batches are not loaded stands still until they are; an idle one, and one that loads, do not",
        "ForebayPositionStalled",
        moving("5+1x60", "5+1x9 15+0x30 45+1x20") + moving("9+0x60", "9+0x60", labels=OTHER_STREAM),
        {"15m": [], "29m": [STREAM], "39m": [STREAM], "43m": [], "60m": []},
    ),
    case(
        "a stream that always lags a little but goes on does not stand still",
        "ForebayPositionStalled",
        moving("5+1x60", "2+1x60"),
        {"30m": [], "60m": []},
    ),
    case(
        "a stream that is paused or outside its hours does not stand still",
        "ForebayPositionStalled",
        moving("9+0x60", "5+0x60", waiting="1+0x60"),
        {"30m": [], "60m": []},
    ),
    case(
        "a stream that begins again at a reset does not stand still",
        "ForebayPositionStalled",
        moving("90+0x20 1+1x40", "90+0x20 0+1x40"),
        {"25m": [], "45m": [], "60m": []},
    ),
    case(
        "a canary that is not back is told of until it is",
        "ForebayCanaryLate",
        of_canary("late_seconds", "0+0x5 300+60x14 0+0x20") + of_stream("waiting", "0+0x40"),
        {"5m": [], "12m": [SOURCE], "18m": [SOURCE], "21m": [], "40m": []},
    ),
    case(
        "the canary of a source that is paused is not missed",
        "ForebayCanaryLate",
        of_canary("late_seconds", "300+60x40") + of_stream("waiting", "1+0x40"),
        {"20m": []},
    ),
    case(
        "an outbox that fills is told of until it empties, one that is full however large it is, one in use is not",
        "ForebayOutboxFilling",
        [
            *of_agent("outbox_bytes", "50+0x9 85+0x19 20+0x20"),
            *of_agent("outbox_capacity_bytes", "100+0x60"),
            *of_agent("outbox_bytes", "10+0x60", OTHER),
            *of_agent("outbox_capacity_bytes", "100+0x60", OTHER),
            *of_agent("outbox_full", "0+0x40 1+0x20", OTHER),
        ],
        {"9m": [], "15m": [], "25m": [AGENT], "31m": [], "55m": [OTHER]},
    ),
    case(
        "a log that is soon lost is told of until it is kept for longer; one that is kept for days is not",
        "ForebayLogLossNear",
        of_stream("log_remaining_seconds", f"{3 * DAY}+0x4 {DAY // 2}+0x14 {3 * DAY}+0x20")
        + of_stream("log_remaining_seconds", f"{2 * DAY}+0x40", OTHER_STREAM),
        {"4m": [], "12m": [SOURCE], "19m": [SOURCE], "21m": [], "40m": []},
    ),
    case(
        "a certificate that ends soon is told of until it is renewed",
        "ForebayCertificateExpiring",
        of_agent("certificate_expiry_timestamp_seconds", f"{10 * DAY}+0x29 {365 * DAY}+0x20")
        + of_agent("certificate_expiry_timestamp_seconds", f"{90 * DAY}+0x50", OTHER),
        {"5m": [], "15m": [AGENT], "29m": [AGENT], "31m": [], "50m": []},
    ),
    case(
        "a batch in quarantine is told of until it is replayed",
        "ForebayQuarantineNotEmpty",
        of_stream("quarantined_batches", "0+0x9 2+0x9 0+0x20")
        + of_stream("quarantined_batches", "0+0x40", OTHER_STREAM),
        {"9m": [], "12m": [STREAM], "19m": [STREAM], "21m": [], "40m": []},
    ),
    case(
        "a table that misses its update cycle is told of until it changes; one in time, and one without a cycle, are not",
        "ForebayUpdateOverdue",
        [
            *of_stream("last_change_timestamp_seconds", "60+0x119 7200+60x60"),
            *of_stream("update_cycle_seconds", "3600+0x180"),
            *of_stream("last_change_timestamp_seconds", "60+0x180", OTHER_STREAM),
            *of_stream("update_cycle_seconds", f"{DAY}+0x180", OTHER_STREAM),
            *of_stream("last_change_timestamp_seconds", "60+0x180", {**STREAM, "stream": "市监局/登记库/public.许可"}),
        ],
        {"60m": [], "90m": [], "105m": [STREAM], "119m": [STREAM], "121m": [], "180m": []},
    ),
    case(
        "a clock that is off, ahead or behind, is told of until it is right; a little is nothing",
        "ForebayClockOffset",
        of_agent("clock_offset_seconds", "0.1+0x4 -8+0x14 0.1+0x20")
        + of_agent("clock_offset_seconds", "3+0x40", OTHER),
        {"4m": [], "12m": [AGENT], "19m": [AGENT], "21m": [], "40m": []},
    ),
    case(
        "a difference that a verification found is told of until one finds none",
        "ForebayVerifyDiffers",
        of_stream("verification_differs", "0+0x9 1+0x9 0+0x20")
        + of_stream("verification_differs", "0+0x40", OTHER_STREAM),
        {"9m": [], "10m": [STREAM], "19m": [STREAM], "21m": [], "40m": []},
    ),
    case(
        "a collector that does not answer is told of until it does",
        "ForebayCollectorDown",
        [Series("forebay_collector_info", {"version": "0", "roles": "load"}, "1+0x5 _x14 1+0x20")],
        {"5m": [], "18m": [{}], "25m": [], "40m": []},
    ),
)
CONDITIONS: Final = {
    "agent_silent",
    "position_stalled",
    "outbox_filling",
    "log_loss_near",
    "certificate_expiring",
    "quarantine_not_empty",
    "update_overdue",
    "clock_offset",
    "verify_differs",
    "canary_late",
    "collector_down",
}
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")


def test_promtool_takes_the_rules() -> None:
    checked = promtool("check", "rules", rules.FILE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_rule_fires_and_clears_and_is_silent_when_all_is_well(tmp_path: Path) -> None:
    tested = promtool("test", "rules", rules.write(tmp_path, CASES))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_case_that_expects_something_else_fails(tmp_path: Path) -> None:
    """What would make the test above one that cannot fail."""
    wrong = case("wrong", "ForebayAgentSilent", beats("0+0x40"), {"30m": []})
    assert promtool("test", "rules", rules.write(tmp_path, [wrong])).returncode == 1


def test_every_alert_is_tried_both_ways() -> None:
    fires: dict[str, set[bool]] = {}
    for one in CASES:
        for look in one["promql_expr_test"]:
            alert = re.findall(r'alertname="(\w+)"', look["expr"])[0]
            fires.setdefault(alert, set()).add(bool(look["exp_samples"]))
    assert fires == {rule["alert"]: {True, False} for rule in rules.shipped()}


def test_the_conditions_are_the_collectors_own_and_each_says_what_to_do_in_both_languages() -> None:
    assert {rule["labels"]["condition"] for rule in rules.shipped()} == CONDITIONS
    for rule in rules.shipped():
        assert rule["labels"]["severity"] in ("critical", "warning")
        told = rule["annotations"]
        assert set(told) == {"summary", "summary_zh", "remedy", "remedy_zh"}
        assert all(_HAN.search(told[name]) is not None for name in ("summary_zh", "remedy_zh")), rule["alert"]
        assert all(_HAN.search(told[name]) is None for name in ("summary", "remedy")), rule["alert"]


def test_limits_and_severities_are_the_defaults_of_the_collectors_own_alerts() -> None:
    own = AlertSettings()
    of_rule = {rule["labels"]["condition"]: " ".join(rule["expr"].split()) for rule in rules.shipped()}
    assert of_rule["clock_offset"].endswith(f"> {own.clock.total_seconds():.0f}")
    assert of_rule["certificate_expiring"].endswith(f"< {own.certificate.days} * 86400")
    assert of_rule["log_loss_near"].endswith(f"< {own.log_hours} * 3600")
    assert f"> {own.outbox_percent / 100:g} or" in of_rule["outbox_filling"]
    assert f"> {own.overdue_percent / 100:g} * max" in of_rule["update_overdue"]
    assert f"> {standing.BEATS_MISSED} * max" in of_rule["agent_silent"]
    held = {rule["labels"]["condition"]: rule.get("for", "0s") for rule in rules.shipped()}
    assert held["agent_silent"] == f"{own.silent.total_seconds() / 60:.0f}m"
    assert held["position_stalled"] == f"{own.stalled.total_seconds() / 60:.0f}m"
    severities = {rule["labels"]["condition"]: rule["labels"]["severity"] for rule in rules.shipped()}
    assert severities == {name: KINDS[name].severity.value if name in KINDS else "critical" for name in CONDITIONS}


@pytest.mark.parametrize("rule", rules.shipped(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_uses_what_is_listed_and_its_texts_the_labels_that_it_has(rule: dict[str, object]) -> None:
    expression = str(rule["expr"])
    used = set(re.findall(r"\b(forebay_\w+|process_\w+)\b", expression))
    assert used
    assert used <= set(listing.names())
    grouped = set(re.findall(r"by \(([\w, ]+)\)", expression))
    labels = {name for group in grouped for name in group.split(", ")}
    assert all(labels <= set(listing.names()[name]) for name in used)
    annotations = rule["annotations"]
    assert isinstance(annotations, dict)
    for text in annotations.values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels
