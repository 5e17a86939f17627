"""Page browser: Chromium, driven by Playwright, for the journeys of the pages."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.support.browser import CHROMIUM

_WITHIN_MS = 60_000  # a page is there in a moment; a busy machine takes longer
expect.set_options(timeout=_WITHIN_MS)


@dataclass(slots=True)
class BrowserFindings:
    """What no journey may cause: violations of the policy, script errors, foreign requests."""

    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@asynccontextmanager
async def chromium(*flags: str) -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *flags], timeout=60_000
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def person(
    browser: Browser,
    base: str,
    *,
    width: int = 1440,
    dark: bool = False,
    script: bool = True,
    language: str = "en",
) -> AsyncGenerator[tuple[BrowserContext, Page, BrowserFindings]]:
    """A browser profile of its own at `base`, with what went wrong in it."""
    context = await browser.new_context(
        base_url=base,
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        locale=language,
        reduced_motion="reduce",
    )
    context.set_default_timeout(_WITHIN_MS)
    found = BrowserFindings()
    page = await context.new_page()

    def heard(message: Any) -> None:
        # A page that refuses is one line of its own in the console: its status is expected.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            found.console.append(message.text)

    def requested(request: Any) -> None:
        if not request.url.startswith((base, "data:")):
            found.foreign.append(request.url)

    page.on("console", heard)
    page.on("pageerror", lambda error: found.console.append(str(error)))
    page.on("request", requested)
    try:
        yield context, page, found
    finally:
        await context.close()
