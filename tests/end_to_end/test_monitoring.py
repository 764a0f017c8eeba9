"""A real Prometheus scrapes a real agent and a real collector, and an alert fires when the agent is killed and clears when
it is back.

Of what is shipped nothing is changed but times: the rules' `for` and their windows of minutes are seconds here, agents beat
every 5 s instead of 15, and Prometheus scrapes and evaluates every second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from forebay_collector.demo.fleet import Fleet
from tests.end_to_end.conftest import SMALL_LOW_INCOME, canary, collector
from tests.end_to_end.test_fleet import SiteOf, settings
from tests.monitoring import dashboard, listing, rules
from tests.monitoring.prometheus import Prometheus, promtool
from tests.servers.ports import closed_port

AGENT: Final = SMALL_LOW_INCOME.agent
SILENT: Final = "ForebayAgentSilent"
EMPTY_WHEN_WELL: Final = ("overdue", "differs", "log remaining", "trouble")
"""panels that show nothing while nothing is the matter, or where the source keeps no log"""


def shortened(folder: Path) -> Path:
    """The shipped rules, with every minute a second."""
    text = re.sub(r"\bfor: (\d+)m$", r"for: \1s", rules.FILE.read_text("utf-8"), flags=re.MULTILINE)
    assert not re.search(r"for: \d+m", text)
    made = folder / "shortened.rules.yml"
    made.write_text(text, "utf-8")
    assert promtool("check", "rules", made).returncode == 0
    return made


def token_of(fleet: Fleet) -> str:
    """As docs/monitoring.md says."""
    made = collector(fleet, "users", "add", "prometheus", "--role", "viewer", "--all-departments")
    assert made.returncode == 0, made.stderr
    told = collector(fleet, "users", "token", "prometheus", "--label", "Prometheus", "--role", "viewer")
    assert told.returncode == 0, told.stderr
    return str(re.findall(r"fba1_\S+", told.stdout)[0])


@pytest.fixture
def watched(tmp_path: Path, fleet: Fleet, site_of: SiteOf) -> Iterator[Prometheus]:
    site = site_of(SMALL_LOW_INCOME)
    canary(site, "read", "1s")
    own = closed_port()
    with (site.home / "agent.toml").open("a", encoding="utf-8") as file:
        file.write(f'[metrics]\nlisten = "127.0.0.1:{own}"\n')
    settings(fleet, heartbeat="5s")
    fleet.start()
    secret = tmp_path / "token"
    secret.write_text(token_of(fleet), "utf-8")
    scrapes: list[dict[str, Any]] = [
        {
            "job_name": "forebay-collector",
            "authorization": {"credentials_file": str(secret)},
            "static_configs": [{"targets": [f"127.0.0.1:{fleet.console_port}"]}],
        },
        {"job_name": "forebay-agent", "static_configs": [{"targets": [f"127.0.0.1:{own}"]}]},
    ]
    with Prometheus(tmp_path / "prometheus", scrapes, [shortened(tmp_path)], "1s") as running:
        yield running


def until(true: Callable[[], Any], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def answered(watched: Prometheus, expression: str, *, empty: bool) -> bool:
    """empty: it may be that nothing is found."""
    return bool(watched.query(expression)) or empty


def test_a_killed_agent_fires_the_alert_and_clears_it_when_it_is_back(fleet: Fleet, watched: Prometheus) -> None:
    (site,) = fleet.sites
    until(lambda: watched.targets() == {"forebay-collector": "up", "forebay-agent": "up"})
    green = f'forebay_collector_agent_state{{agent="{AGENT}",state="green"}}'
    until(lambda: watched.query(green))
    until(lambda: watched.query(f'forebay_collector_canary_round_trip_seconds{{agent="{AGENT}"}}'))
    until(lambda: watched.query("forebay_agent_stream_batches_loaded_total > 0"))
    assert watched.firing(SILENT) == []

    site.agent.kill()
    (fired,) = until(lambda: watched.firing(SILENT))
    labels, told = fired["labels"], fired["annotations"]
    assert (labels["agent"], labels["department"]) == (AGENT, SMALL_LOW_INCOME.name)
    assert (labels["condition"], labels["severity"]) == ("agent_silent", "critical")
    for text in ("summary", "summary_zh"):
        assert AGENT in told[text]
        assert SMALL_LOW_INCOME.name in told[text]
    until(lambda: watched.targets()["forebay-agent"] == "down")
    assert watched.targets()["forebay-collector"] == "up", "the centre still knows of it"

    site.agent.start()
    until(lambda: not [one for one in watched.alerts() if one["labels"]["alertname"] == SILENT])
    until(lambda: watched.query(green) and watched.targets()["forebay-agent"] == "up")


def test_every_query_of_the_dashboard_and_of_the_rules_is_answered_by_a_real_prometheus(
    fleet: Fleet, watched: Prometheus
) -> None:
    until(lambda: watched.query("forebay_collector_archive_bytes > 0"))
    until(lambda: watched.query("forebay_collector_durable_ack_seconds_count > 0"))
    until(lambda: watched.query("forebay_collector_canary_round_trip_seconds > 0"))
    until(lambda: watched.query("forebay_collector_batches_loaded_total > 0"))
    expressions = dict(dashboard.expressions())
    until(lambda: watched.query(expressions["装载延迟 · lag A"]))
    for place, expression in expressions.items():
        until(partial(answered, watched, expression, empty=any(word in place for word in EMPTY_WHEN_WELL)))
    for rule in rules.shipped():
        watched.query(rule["expr"])
    stored = {one["metric"]["__name__"] for one in watched.query('count by (__name__) ({job=~"forebay-.*"})')}
    scraped = {"up", *(name for name in stored if name.startswith("scrape_"))}
    assert stored - scraped <= set(listing.names())
    assert len(stored - scraped) > 60
