"""What the document says of alerts is what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from forebay_collector.alerts.conditions import TOLD_BY_AGENTS
from forebay_collector.alerts.kinds import IDENTITY, KINDS
from forebay_collector.alerts.settings import CHANNELS, AlertSettings
from forebay_collector.console.language import words_of
from forebay_collector.identity import alarms

TEXT = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")


def test_every_kind_is_documented_with_its_code_and_severity_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([A-Z-]+)` \| (\w+)", TEXT, re.MULTILINE)
    assert rows == [(kind.name, kind.code, kind.severity.value) for kind in KINDS.values()]


def test_every_threshold_and_every_channel_is_documented() -> None:
    every = {field.name for field in fields(AlertSettings)} - {*CHANNELS}
    assert [name for name in sorted(every) if f"`{name}`" not in TEXT and f"\n{name} = " not in TEXT] == []
    assert [name for name in CHANNELS if f"[alerts.{name}]" not in TEXT] == []


def test_every_alarm_of_identity_is_a_kind_and_is_as_urgent() -> None:
    assert IDENTITY.keys() == alarms.ALARMS.keys()
    assert {action: kind.severity == "critical" for action, kind in IDENTITY.items()} == {
        action: alarm.urgent for action, alarm in alarms.ALARMS.items()
    }


def test_names_and_codes_are_each_one_kinds() -> None:
    assert len({kind.name for kind in KINDS.values()}) == len({kind.code for kind in KINDS.values()}) == 20
    assert KINDS.keys() >= TOLD_BY_AGENTS
    assert words_of("zh-CN")("nav.alerts") == "告警"
