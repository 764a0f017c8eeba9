"""Chromium, once for all tests; every test gets browsers of its own, with their own cookies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.town import Town

CHROMIUM = "/usr/bin/chromium"
Open = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--font-render-hinting=none"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """Opens a browser of its own, and gives its page. What the page's own console says is wrong fails the test."""
    opened: list[Any] = []
    wrong: list[str] = []

    def opening(*, language: str = "en-US", width: int = 1280, height: int = 900) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, locale=language)
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        return page

    yield opening
    for context in opened:
        context.close()
    # what the server refuses is told here too, and is looked at by the tests themselves
    assert [text for text in wrong if "Failed to load resource" not in text] == []


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town")) as running:
        yield running
