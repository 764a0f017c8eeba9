"""A source's `[canary]`, and the label of a table's update cycle."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent.config.load import load
from forebay_agent.config.model import CanaryConfig, SourceConfig
from forebay_agent.errors import ConfigurationError

SQLITE = 'kind = "sqlite"\npath = "civil.db"\n'
POSTGRESQL = 'kind = "postgresql"\nuser = "forebay"\ndatabase = "civil"\n'


def source_of(folder: Path, text: str, table: str = 'name = "people"\nmode = "snapshot"\n') -> SourceConfig:
    (folder / "sources.d").mkdir(exist_ok=True)
    (folder / "agent.toml").write_text('[agent]\nstate = "state"\n')
    (folder / "sources.d" / "civil.toml").write_text(f"{text}\n[[table]]\n{table}", "utf-8")
    return load(folder).sources[0]


def refusal(folder: Path, text: str, table: str = 'name = "people"\nmode = "snapshot"\n') -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        source_of(folder, text, table)
    (problem,) = caught.value.problems
    assert problem.remedy
    return problem


def test_a_source_has_a_canary_unless_it_is_switched_off(tmp_path: Path) -> None:
    assert source_of(tmp_path, SQLITE).canary == CanaryConfig("auto", timedelta(minutes=5), "")
    assert source_of(tmp_path, SQLITE + '[canary]\nkind = "off"').canary.kind == "off"
    written = source_of(tmp_path, SQLITE + '[canary]\nkind = "row"\nevery = "30s"\ntable = "alive"')
    assert written.canary == CanaryConfig("row", timedelta(seconds=30), "alive")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SQLITE + '[canary]\nkind = "bird"', "canary.kind"),
        (SQLITE + '[canary]\nevery = "10ms"', "canary.every"),
        (SQLITE + "[canary]\nevrey = 1", "canary.evrey"),
        (SQLITE + '[canary]\nkind = "row"', "canary.table"),
        (SQLITE + '[canary]\nkind = "off"\ntable = "alive"', "canary.table"),
        (SQLITE + '[canary]\nkind = "message"', "canary.kind"),
        (POSTGRESQL + '[canary]\nkind = "message"', "canary.kind"),
    ],
)
def test_a_canary_that_cannot_be_is_refused_with_its_key(tmp_path: Path, text: str, key: str) -> None:
    assert refusal(tmp_path, text).key == key


def test_a_message_goes_through_the_log_of_postgresql(tmp_path: Path) -> None:
    source = source_of(tmp_path, POSTGRESQL + '[canary]\nkind = "message"', 'name = "people"\nmode = "log"\n')

    assert source.canary.kind == "message"


def test_no_table_may_have_the_canarys_name(tmp_path: Path) -> None:
    problem = refusal(tmp_path, SQLITE, 'name = "forebay.canary"\nmode = "snapshot"\n')

    assert problem.key == "table[1].name"


def test_the_update_cycle_is_a_label_in_the_departments_words(tmp_path: Path) -> None:
    table = 'name = "people"\nmode = "snapshot"\nupdate_cycle = "{}"\n'
    assert source_of(tmp_path, SQLITE, table.format(" 每日 ")).tables[0].update_cycle == "每日"

    assert refusal(tmp_path, SQLITE, table.format("日" * 65)).key == "table[1].update_cycle"


def test_what_is_approved_never_comes_from_the_file(tmp_path: Path) -> None:
    assert source_of(tmp_path, SQLITE).tables[0].approved is None

    assert (
        refusal(tmp_path, SQLITE, 'name = "people"\nmode = "snapshot"\napproved = ["id"]\n').key == "table[1].approved"
    )
