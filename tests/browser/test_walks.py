"""People's ways through the console: real processes, real databases, a real browser."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import expect

from forebay_collector.demo.departments import ENTERPRISES, LOW_INCOME, PERMITS
from tests.browser.conftest import Open
from tests.browser.town import HEARTBEAT_S, Town, stream_of, wait_for

TICK_S = 2.0
SLOW_S = 4.0
"""What a busy machine may take beside what is promised."""


def log_in(page: Any, link: str) -> None:
    page.goto(link)
    page.get_by_role("button", name=re.compile("Log in|登录")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Fleet|前置机群"))


def tile(page: Any, agent: str) -> Any:
    return page.locator("a.tile", has_text=agent)


def test_an_agent_whose_process_is_killed_turns_red_within_two_heartbeats_and_recovers(
    town: Town, open_page: Open
) -> None:
    town.approve(ENTERPRISES)
    page = open_page()
    log_in(page, town.link("watcher", ["viewer"]))
    expect(tile(page, "scjg-01")).to_have_class(re.compile("s-green"), timeout=60_000)
    agent = town.site("scjg-01").agent
    agent.kill()
    red = re.compile("s-red")
    # the page is not touched: it comes to know by itself
    took = wait_for(lambda: bool(red.search(tile(page, "scjg-01").get_attribute("class"))), 60)
    assert took <= 2 * HEARTBEAT_S + TICK_S + SLOW_S
    expect(page.locator(".worst")).to_contain_text("scjg-01")
    expect(page.locator(".worst")).to_contain_text("no heartbeat for")
    agent.start()
    expect(tile(page, "scjg-01")).to_have_class(re.compile("s-green"), timeout=60_000)


def test_an_alert_of_a_killed_agent_comes_is_acknowledged_and_goes_when_the_agent_is_back(
    town: Town, open_page: Open
) -> None:
    page = open_page()
    log_in(page, town.link("alerted", ["operator"]))
    expect(tile(page, PERMITS.agent)).not_to_have_class(re.compile("s-red"), timeout=60_000)
    page.get_by_role("link", name="Alerts").click()
    row = page.locator("#live-alerts tr", has_text=PERMITS.agent)
    expect(row).to_have_count(0)
    agent = town.site(PERMITS.agent).agent
    agent.kill()
    # the page is not touched: it comes to know by itself
    expect(row).to_contain_text("no heartbeat since", timeout=60_000)
    expect(row).to_contain_text("critical")
    page.reload()
    page.get_by_role("checkbox", name=f"Mark Agent silent {PERMITS.agent}").check()
    page.get_by_label("Why").first.fill("killed to see")
    page.get_by_role("button", name="Acknowledge the marked").click()
    expect(page.locator(".message.good")).to_contain_text("1 alert is acknowledged")
    expect(row).to_contain_text("alerted")
    expect(row).to_contain_text("killed to see")
    agent.start()
    expect(row).to_have_count(0, timeout=60_000)
    past = page.locator("#live-past tr", has_text=PERMITS.agent).first
    expect(past).to_contain_text("Agent silent")
    expect(past).to_contain_text("killed to see")


def test_nothing_of_a_table_leaves_before_it_is_approved_on_the_page(town: Town, open_page: Open) -> None:
    page = open_page()
    log_in(page, town.link("approver", ["approver"]))
    page.get_by_role("link", name="Approvals").click()
    card = page.locator(".proposal", has_text=PERMITS.table)
    wait_for(lambda: _reloaded(page, card), 60)
    expect(card).to_contain_text("waiting")
    assert "no streams" in town.run("streams", "--agent", PERMITS.agent)
    # XK_XZJG is not to leave
    card.get_by_role("checkbox", name="Mark XK_XZJG").uncheck()
    card.get_by_label("Why").fill("agreed on 23 November")
    card.get_by_role("button", name="Approve the marked columns").click()
    expect(page.locator(".message.good")).to_contain_text("9 columns approved")
    stream = stream_of(PERMITS)
    wait_for(lambda: "XK_WSH" in _rows_of(town, PERMITS.table), 90)
    assert "XK_XZJG" not in _rows_of(town, PERMITS.table)
    page.goto(f"{town.console}/find?q={PERMITS.table}")
    expect(page).to_have_url(re.compile("/streams/"))
    expect(page.get_by_role("heading", level=1)).to_contain_text(stream.rpartition("/")[2])
    expect(page.locator("#live-stream-batches")).to_contain_text("loaded", timeout=60_000)


def test_a_batch_that_the_platform_refuses_is_read_about_replayed_and_found_in_the_audit(
    town: Town, open_page: Open
) -> None:
    leave = town.squat(LOW_INCOME)
    stream = stream_of(LOW_INCOME)
    town.approve(LOW_INCOME)
    page = open_page()
    log_in(page, town.link("operator", ["operator"]))
    page.get_by_role("link", name="Quarantine").click()
    row = page.locator("tr", has_text=LOW_INCOME.table)
    expect(row).to_contain_text("FB-PLATFORM-FOREIGN", timeout=90_000)
    expect(row).to_contain_text("format version 1, expected 2")
    expect(row).to_contain_text("Remedy")
    expect(page.locator("nav .number.bad").last).to_have_text("1")
    batch = row.get_by_role("link", name="Batch 1/1").get_attribute("href")

    page.goto(town.console + batch)
    expect(page.get_by_role("heading", level=1)).to_contain_text("in quarantine")
    expect(page.locator(".proofs .yes").first).to_contain_text("its digests were just checked")

    leave()
    page.get_by_role("link", name="Decide in quarantine").click()
    page.get_by_role("checkbox", name=f"Mark {stream}").check()
    page.get_by_label("Why").fill("the other table is gone")
    page.get_by_role("button", name="Replay").click()
    expect(page.locator(".message.good")).to_contain_text("1 batch is released")
    page.goto(town.console + batch)
    # the page is not touched: it sees the batch being loaded
    expect(page.get_by_role("heading", level=1)).to_contain_text("loaded", timeout=60_000)
    expect(page.locator("#live-batch-deeds")).to_contain_text("the other table is gone")

    auditor = open_page()
    log_in(auditor, town.link("auditor", ["auditor"]))
    auditor.get_by_role("link", name="Audit").click()
    auditor.get_by_label("Deed").select_option("replay")
    expect(auditor).to_have_url(re.compile("action=replay"))
    entry = auditor.locator("tbody tr").first
    for text in ("operator", "replayed", f"{stream} 1/1", "the other table is gone", "console"):
        expect(entry).to_contain_text(text)
    auditor.get_by_role("button", name="Verify the chain").click()
    expect(auditor.locator(".message.good")).to_contain_text("The chain holds")


def test_a_viewer_finds_no_button_and_is_refused_without_one(town: Town, open_page: Open) -> None:
    page = open_page()
    log_in(page, town.link("seer", ["viewer"]))
    for path in ("/alerts", "/quarantine", "/approvals?state=all", "/verification", "/offers"):
        page.goto(town.console + path)
        expect(page.locator("main form button:not(.filters button)")).to_have_count(0)
    expect(page.get_by_role("link", name="Audit")).to_have_count(0)
    token = page.locator('input[name="form_token"]').first.get_attribute("value")
    form = {"form_token": token, "batch": f"1/1 {stream_of(LOW_INCOME)}", "why": "x", "action": "replay"}
    answer = page.request.post(f"{town.console}/quarantine", form=form, max_redirects=0)
    assert answer.status == 403
    assert "FB-PERMISSION" in answer.text()


def test_a_departments_own_person_sees_only_its_own(town: Town, open_page: Open) -> None:
    page = open_page(language="zh-CN")
    log_in(page, town.link("shijian", ["operator"], [ENTERPRISES.name]))
    expect(page.locator("a.tile")).to_have_count(1)
    for path in ("/", "/alerts", "/streams", "/batches", "/quarantine", "/approvals?state=all"):
        page.goto(town.console + path)
        for other in (LOW_INCOME, PERMITS):
            assert other.name not in page.content()
            assert other.agent not in page.content()
    page.goto(f"{town.console}/agents/{PERMITS.agent}")
    expect(page.locator(".trouble")).to_contain_text("没有找到")


def test_a_comparison_is_asked_for_on_the_page_and_its_progress_is_shown(town: Town, open_page: Open) -> None:
    town.approve(ENTERPRISES)
    page = open_page()
    log_in(page, town.link("verifier", ["operator"]))
    page.goto(f"{town.console}/find?q={ENTERPRISES.table}")
    expect(page.locator("#live-stream-batches")).to_contain_text("loaded", timeout=60_000)
    page.get_by_role("button", name="Verify now").click()
    expect(page).to_have_url(re.compile(r"/verification/\d+"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("equal", timeout=90_000)
    expect(page.locator(".facts")).to_contain_text("120")


def test_the_keyboard_reaches_everything(town: Town, open_page: Open) -> None:
    page = open_page()
    log_in(page, town.link("keys", ["viewer"]))
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.type("mzj-01")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("mzj-01")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a")]
        .filter((one) => !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim() && !one.title)
        .map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def _reloaded(page: Any, card: Any) -> bool:
    """Approvals do not move under somebody's hand: the page is loaded again until the proposal has come."""
    if card.count():
        return True
    page.reload()
    return bool(card.count())


def _rows_of(town: Town, table: str) -> str:
    """The table's rows in the platform, as the command line prints them; empty while there is none."""
    return town.run("sql", f"select * from {table} limit 1", "--format", "csv") if table in town.run("tables") else ""
