"""The page in a real browser: live without a reload, at both widths, light and dark."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.operator_page.conftest import PageFleet
from tests.support.accessibility import violations
from tests.support.browser import Browser, needs_chromium, open_browser

pytestmark = needs_chromium
SHOWN_WITHIN_S = 3.0
# Wider than the window: the page scrolls sideways.
OVERFLOW = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_its_window_and_breaks_no_policy(
    page_fleet: PageFleet, browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.show(width=width, dark=dark)
    browser.open(f"{page_fleet.base}/operator")
    assert browser.evaluate("document.title").startswith("All systems operational.")
    assert not browser.evaluate(OVERFLOW)
    background = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == ("rgb(14, 20, 18)" if dark else "rgb(244, 246, 242)")
    browser.wait_for("document.querySelectorAll('.node--full').length > 5", within_s=10)
    browser.screenshot(tmp_path / f"operator-{width}-{'dark' if dark else 'light'}.png")
    assert not browser.complaints()
    assert violations(browser) == []
    hosts = {url.split("/")[2] for url in browser.requested() if url.startswith("http")}
    assert hosts == {page_fleet.base.removeprefix("http://")}


def test_a_killed_worker_shows_within_three_seconds_without_a_reload(
    page_fleet: PageFleet, browser: Browser
) -> None:
    browser.show(width=1440)
    browser.open(f"{page_fleet.base}/operator")
    browser.evaluate("window.kept = 'the same page'")
    browser.wait_for("document.querySelector('[data-part=worker-1] .w').textContent == 'ready'",
                     within_s=10)  # fmt: skip
    before = page_fleet.process("worker-1")
    count = page_fleet.part("worker-1").restarts
    os.kill(before.pid, signal.SIGKILL)
    took = browser.wait_for(
        "(part => part.querySelector('.w').textContent != 'ready'"
        f" || part.textContent.includes('restarts: {count + 1}'))"
        "(document.querySelector('[data-part=worker-1]'))",
        within_s=SHOWN_WITHIN_S,
    )
    assert took < SHOWN_WITHIN_S
    assert browser.evaluate("window.kept") == "the same page"
    page_fleet.successor("worker-1", before)


def test_without_scripts_the_page_is_the_same_and_can_be_refreshed(
    page_fleet: PageFleet, browser: Browser
) -> None:
    browser.show(width=390, script=False)
    browser.open(f"{page_fleet.base}/operator")
    assert browser.evaluate("document.querySelectorAll('[data-part]').length") >= 8
    refresh = "getComputedStyle(document.querySelector('a.no-js')).display"
    assert browser.evaluate(refresh) != "none"


@pytest.mark.slow
def test_a_page_that_hears_nothing_says_so_and_recovers(
    page_fleet: PageFleet, browser: Browser
) -> None:
    browser.show(width=1440)
    browser.open(f"{page_fleet.base}/operator")
    browser.wait_for("document.getElementById('lost').hidden", within_s=10)
    process = page_fleet.process("operator")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        browser.wait_for("!document.getElementById('lost').hidden", within_s=8)
        assert browser.evaluate("document.getElementById('main').classList.contains('aged')")
    finally:
        os.kill(process.pid, signal.SIGCONT)
    browser.wait_for("document.getElementById('lost').hidden", within_s=15)
