"""Every page in both languages and both themes: nothing overflows at 1280 and 390 pixels, and a picture of each is kept.

The pictures go to `docs/images` when FOREBAY_IMAGES says so (`make test-browser`), else to the test's own folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from forebay_collector.console.cookies import LANGUAGE, SESSION, THEME
from forebay_collector.console.rendering import batch_path, stream_path
from forebay_collector.service import sessions
from forebay_collector.service.actor import Actor
from tests.browser.city import City
from tests.browser.city_alerts import CHANNELS
from tests.browser.city_data import AGENT, LOW_INCOME, PERMITS
from tests.browser.conftest import Open
from tests.consoling.console import Served

LANGUAGES: Final = ("zh-CN", "en")
THEMES: Final = ("light", "dark")
MOST_BYTES: Final = 6_000_000
QUALITY: Final = 46
HEIGHT: Final = 860
_SAMPLE = f"/sample{stream_path(LOW_INCOME).removeprefix('/streams')}"
# name of the picture -> who looks, and at what
PAGES: Final = {
    "login": ("", "/login"),
    "fleet": ("chen.admin", "/"),
    "fleet-list": ("li.ops", "/?view=list&sort=lag"),
    "agent": ("chen.admin", f"/agents/{AGENT}?range=1d"),
    "alerts": ("li.ops", "/alerts"),
    "streams": ("li.ops", "/streams?sort=behind"),
    "stream": ("li.ops", stream_path(LOW_INCOME)),
    "sample": ("li.ops", _SAMPLE),
    "batches": ("li.ops", "/batches"),
    "batch": ("li.ops", batch_path(LOW_INCOME, 1, 30)),
    "batch-refused": ("li.ops", batch_path(PERMITS, 1, 0)),
    "quarantine": ("li.ops", "/quarantine"),
    "approvals": ("chen.admin", "/approvals"),
    "offers": ("li.ops", "/offers"),
    "verification": ("li.ops", "/verification"),
    "verification-run": ("li.ops", "/verification/2"),
    "repair": ("li.ops", "/repairs/1"),
    "coverage": ("li.ops", "/coverage"),
    "audit": ("zhao.audit", "/audit"),
    "identity": ("chen.admin", "/identity"),
    "users": ("chen.admin", "/users"),
    "account": ("li.ops", "/account"),
    "find": ("li.ops", "/find?q=mzj"),
    "refused": ("li.ops", "/users"),
}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Shanghai"
    time.tzset()
    made = City(tmp_path_factory.mktemp("city") / "collector")
    yield made
    made.close()
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture(scope="module")
def console(city: City) -> Iterator[Served]:
    here = replace(city.stage.settings.console, listen="127.0.0.1:0")
    settings = replace(city.stage.settings, console=here, alerts=CHANNELS)
    with Served(city.stage, settings, clock=city.clock) as running:
        yield running


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = os.environ.get("FOREBAY_IMAGES", "")
    made = Path(wanted) if wanted else tmp_path_factory.mktemp("images")
    made.mkdir(parents=True, exist_ok=True)
    return made


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_fits_the_screen_of_a_desk_and_of_a_hand(
    city: City, console: Served, open_page: Open, folder: Path, language: str, theme: str
) -> None:
    wide = {}
    page = open_page(language=language, height=HEIGHT)
    for name, (who, path) in PAGES.items():
        _become(page, console, city, who, language, theme)
        page.goto(console.address + _existing(city, path))
        page.evaluate("document.fonts.ready")
        assert page.locator("html").get_attribute("lang") == language
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": HEIGHT})
            if (reached := page.evaluate("document.documentElement.scrollWidth")) > width:
                wide[name, width] = reached
        _shoot(page, folder / f"{name}.{language}.{theme}.jpg")
    assert wide == {}


def test_a_page_on_a_phone_is_pictured_too(city: City, console: Served, open_page: Open, folder: Path) -> None:
    page = open_page(width=390, height=844)
    for name in ("fleet", "quarantine", "alerts"):
        _become(page, console, city, "li.ops", "zh-CN", "light")
        page.goto(console.address + PAGES[name][1])
        _shoot(page, folder / f"{name}.phone.jpg")


def test_all_the_pictures_together_are_small(folder: Path) -> None:
    pictures = list(folder.glob("*.jpg"))
    assert len(pictures) >= len(PAGES) * len(LANGUAGES) * len(THEMES)
    assert sum(picture.stat().st_size for picture in pictures) < MOST_BYTES


@pytest.mark.parametrize("theme", THEMES)
def test_text_stands_out_from_what_is_behind_it(city: City, console: Served, open_page: Open, theme: str) -> None:
    """WCAG AA: 4.5 to 1; 3 to 1 for large text."""
    page = open_page(language="zh-CN")
    for who, path in (
        PAGES["fleet"],
        PAGES["agent"],
        PAGES["quarantine"],
        PAGES["batch"],
        PAGES["approvals"],
        PAGES["alerts"],
    ):
        _become(page, console, city, who, "zh-CN", theme)
        page.goto(console.address + _existing(city, path))
        assert page.evaluate(_FAINT) == []


def _existing(city: City, path: str) -> str:
    """The address of the batch that holds the permits."""
    if path != batch_path(PERMITS, 1, 0):
        return path
    record = city.ledger.streams.get(PERMITS)
    assert record is not None
    assert record.hold is not None
    return batch_path(PERMITS, 1, record.hold.seq)


def _become(page: Any, console: Served, city: City, who: str, language: str, theme: str) -> None:
    """This person's cookies, and no others."""
    page.goto("about:blank")  # else the page that is open sees its session end, and loads itself again
    page.context.clear_cookies()
    chosen = {LANGUAGE: language, THEME: theme}
    if who:
        chosen[SESSION] = sessions.open_session(city.ledger, Actor(who, frozenset()))
    page.context.add_cookies([{"name": name, "value": value, "url": console.address} for name, value in chosen.items()])


def _shoot(page: Any, path: Path) -> None:
    page.screenshot(path=path, type="jpeg", quality=QUALITY, animations="disabled")


_FAINT: Final = """() => {
  const parse = (text) => {
    const canvas = parse.canvas ||= new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== "none") return null;
      const colour = parse(style.backgroundColor);
      if (colour[3] === 255) return colour;
      if (colour[3] > 0) return null;
    }
    return [255, 255, 255, 255];
  };
  const faint = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !one.checkVisibility({ opacityProperty: true })) continue;
    if (one.closest(".unseen, .zero, svg, option, script")) continue;
    const back = behind(one);
    if (!back) continue;
    const style = getComputedStyle(one);
    const [a, b] = [light(parse(style.color)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const large = size >= 24 || (bold && size >= 18.66);
    if (ratio < (large ? 3 : 4.5)) faint.add(`${one.tagName}.${one.className} ${walker.currentNode.textContent.trim().slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return [...faint];
}"""
