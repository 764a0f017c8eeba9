"""One list of metrics: the document is the programs' own, names follow Prometheus' practice, and dashboards use no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from tests.monitoring import dashboard, listing
from tests.monitoring.prometheus import promtool

ENTRIES: Final = (*listing.of_collector(), *listing.of_agent())


def test_the_document_is_what_the_programs_tell() -> None:
    assert listing.FILE.read_text("utf-8") == listing.text(), "write it anew: make reference"


def test_names_say_whose_they_are_and_what_they_count_in() -> None:
    for name, kind, _, help_ in ENTRIES:
        assert re.fullmatch(r"(forebay_(agent|collector)|process)_[a-z0-9_]+", name), name
        assert (kind == "counter") == name.endswith("_total"), name
        assert help_.endswith("."), name
        assert "\n" not in help_, name
    for entries in (listing.of_collector(), listing.of_agent()):
        names = [name for name, _, _, _ in entries]
        assert len(names) == len(set(names))


def test_labels_are_few_and_bounded() -> None:
    """By agents, sources and streams, by a closed set of words, or one series each."""
    bounded = {"agent", "department", "source", "stream", "state", "version", "roles"}
    assert {label for _, _, labels, _ in ENTRIES for label in labels} == bounded


def test_promtool_finds_nothing_to_object_to_in_the_names() -> None:
    """`promtool check metrics` judges a page."""
    page = []
    ours = [entry for entry in ENTRIES if entry[0].startswith("forebay_")]
    for name, kind, labels, help_ in ours:
        told = "{" + ",".join(f'{label}="x"' for label in labels) + "}" if labels else ""
        page += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
        if kind == "histogram":
            page += [f'{name}_bucket{{le="+Inf"}} 1', f"{name}_sum 1", f"{name}_count 1"]
        else:
            page.append(f"{name}{told} 1")
    judged = promtool("check", "metrics", given="\n".join(page) + "\n")
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")


def test_every_expression_of_the_dashboard_is_promql_over_listed_metrics(tmp_path: Path) -> None:
    names = listing.names()
    rules = []
    for number, (place, expression) in enumerate(dashboard.expressions()):
        used = set(re.findall(r"\b((?:forebay|process)_\w+)\b", expression))
        assert used, place
        assert used <= set(names), place
        for name, chosen in re.findall(r"\b((?:forebay|process)_\w+)\{([^}]*)\}", expression):
            labels = set(re.findall(r'(\w+)(?:=~|=|!=|!~)"', chosen))
            assert labels <= {*names[name], "instance", "job"}, place
        rules.append({"record": f"panel:{number}", "expr": expression})
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}, ensure_ascii=False), "utf-8")
    checked = promtool("check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


def test_an_expression_that_is_none_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text(json.dumps({"groups": [{"name": "w", "rules": [{"record": "a:b", "expr": "sum(x"}]}]}), "utf-8")
    assert promtool("check", "rules", file).returncode != 0


def test_the_dashboard_has_a_title_a_text_and_a_place_for_every_panel() -> None:
    panels = dashboard.panels()
    assert len(panels) > 25
    assert len({panel["id"] for panel in dashboard.content()["panels"]}) == len(dashboard.content()["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
