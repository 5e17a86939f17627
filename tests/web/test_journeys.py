"""Journeys of the pages in a browser: on a phone and a desk, light and dark, with and without
scripts: a merchant opens its account, makes a program, issues a card, and takes it at the till.

Every page that a journey shows is measured: accessibility (axe), bytes, the content policy, foreign
requests. Screenshots are kept in the folder FLORIN_SCREENSHOTS, if it is set.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.support.browser import needs_chromium
from tests.support.instance import Instance
from tests.support.members import PASSWORD, address
from tests.support.page_browser import BrowserFindings, chromium, person

pytestmark = needs_chromium

BYTES_MAX = 100_000  # of a page with its sheet, script and font, uncompressed
REQUESTS_MAX = 8  # of a page that nothing of is cached
SHIFT_MAX = 0.01  # the sum of its layout shifts, as browsers score them
# The requests of the page so far, and the score of what moved without a cause.
_LOADED = """async () => {
  const shifts = [];
  new PerformanceObserver(list => shifts.push(...list.getEntries()))
    .observe({type: "layout-shift", buffered: true});
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [
    1 + performance.getEntriesByType("resource")
      .filter(each => each.initiatorType !== "fetch").length,
    shifts.filter(each => !each.hadRecentInput).reduce((sum, each) => sum + each.value, 0),
  ];
}"""
OTHERS = pytest.mark.long_form("pages")
SETTINGS = [
    pytest.param({"width": 390, "script": True}, id="phone"),
    pytest.param({"width": 1440, "dark": True, "script": True}, id="desk-dark", marks=OTHERS),
    pytest.param(
        {"width": 390, "dark": True, "script": False}, id="phone-dark-no-script", marks=OTHERS
    ),
    pytest.param({"width": 1440, "script": False, "language": "de"}, id="desk-german-no-script"),
]


def phone_first(looks: Sequence[Any]) -> list[Any]:
    """A phone in each run of the tests; the other looks in the long form."""
    return [
        each if each.id == "phone" else pytest.param(*each.values, id=each.id, marks=OTHERS)
        for each in looks
    ]


# Tables whose end is out of sight, on a phone without the actions there, and charts without their
# newest month.
_HIDDEN = """() => [...document.querySelectorAll(".scroll")].flatMap(each => {
  const heads = [...each.querySelectorAll("thead th")]
    .filter(head => innerWidth > 700 || !head.querySelector(".vh"));
  const ends = heads.length ? heads : [...each.children];
  const end = Math.max(...ends.map(one => one.getBoundingClientRect().right));
  const hidden = Math.round(end - each.getBoundingClientRect().right);
  const name = each.ariaLabel || each.getAttribute("aria-labelledby");
  return hidden > 1 ? [`${name}: ${hidden} px`] : [];
})"""

# What a hostile person may type into any field that reaches a page.
HOSTILE = [
    "<script>window.broken=1</script>",
    '"><img src=x onerror=window.broken=1>',
    "'-window.broken=1-'",
    "{{7*7}}${7*7}",
    "</title><svg onload=window.broken=1>",
    "javascript:window.broken=1",
]


@pytest.fixture(scope="module")
async def browser():
    async with chromium() as running:
        yield running


@dataclass(slots=True)
class Measured:
    """The pages of one journey, looked at one by one."""

    page: Page
    name: str
    script: bool
    shown: list[str] = field(default_factory=list)

    async def loaded(self) -> tuple[int, float]:
        """How many requests the page made, and the score of what moved in it without a cause."""
        requests, shift = await self.page.evaluate(_LOADED)
        return int(requests), float(shift)

    async def look(self, what: str) -> None:
        """Measure the page as it is now."""
        errors = 1 if what == "not-found" else 0
        assert await self.page.locator(".oops").count() == errors, f"{what} is an error"
        measured: dict[str, Any] = {}
        if self.script:
            requests, shift = await self.loaded()
            assert requests <= REQUESTS_MAX, f"{what}: {requests} requests"
            assert shift <= SHIFT_MAX, f"{what} shifts by {shift}"
            axe: Any = Axe()
            result: Any = await axe.run(self.page)
            serious = [
                f"{each['id']}: {each['nodes'][0]['html'][:160]}"
                for each in result["violations"]
                if each["impact"] in {"serious", "critical"}
            ]
            assert not serious, f"{what}: {serious}"
            measured = {"requests": requests, "shift": shift, "axe": len(result["violations"])}
            wide: int = await self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, f"{what} scrolls sideways by {wide} px"
            hidden: list[str] = await self.page.evaluate(_HIDDEN)
            assert not hidden, f"{what} hides the end of {hidden}"
        size = len((await self.page.content()).encode())
        assert size < BYTES_MAX - SHARED, f"{what}: {size} bytes"
        self.shown.append(what)
        folder = os.environ.get("FLORIN_SCREENSHOTS")
        if folder:
            path = Path(folder) / f"{len(self.shown):02}-{what}-{self.name}.png"
            await self.page.screenshot(path=path, full_page=True)
            line = {"page": what, "look": self.name, "bytes": size, "shared": SHARED, **measured}
            with (Path(folder) / "pages.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(f"{json.dumps(line)}\n")


def _shared_bytes() -> int:
    static = Path(__file__).parents[2] / "src" / "florin" / "web" / "static"
    names = ("florin.css", "florin.js", "besley-latin-500.woff2")
    return sum((static / name).stat().st_size for name in names)


SHARED = _shared_bytes()


async def register(page: Page, name: str) -> str:
    """Open an account through the page; return the address."""
    email = address("owner")
    await page.goto("/sign-up")
    await page.locator("#name").fill(name)
    await page.locator("#country").fill("IE")
    await page.locator("#currency").fill("EUR")
    await page.locator("#timezone").fill("Europe/Dublin")
    await page.locator("#email").fill(email)
    await page.locator("#password").fill(PASSWORD)
    await page.locator("form button.btn--main").click()
    await expect(page).to_have_url(re.compile(r"/console$"))
    return email


async def make_program(page: Page) -> None:
    await page.goto("/console/programs/new")
    await page.locator("#name").fill("Harbour card")
    await page.locator("#min_amount").fill("10.00")
    await page.locator("#max_amount").fill("500.00")
    await page.locator(".panel__foot button.btn--main").click()
    await expect(page).to_have_url(re.compile(r"/console/programs/prg_"))


async def issue_card(page: Page, amount: str) -> str:
    """Issue a card through the page; return its code."""
    await page.goto("/console/cards/new")
    await page.locator("#amount").fill(amount)
    await page.locator("#email").fill("tomas@example.com")
    await page.locator(".panel__foot button.btn--main").click()
    return (await page.locator("#code").inner_text()).strip()


async def find_at_till(page: Page, code: str, due: str = "") -> None:
    await page.goto("/till")
    await page.locator("#code").fill(code)
    await page.locator("#due").fill(due)
    await page.locator("form.stack button.btn--main").click()


def amounts(text: str) -> str:
    """A text without the spaces of its numbers."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def require_clean(found: BrowserFindings) -> None:
    assert not found.console
    assert not found.foreign


async def look_at_the_rest(seen: Measured) -> None:
    """The pages of the console that the journey does not need."""
    for path in ("programs", "bulk", "import", "reports", "reports/proof", "members", "keys"):
        await seen.page.goto(f"/console/{path}")
        await seen.look(path.replace("/", "-"))
    for path in ("/console/audit", "/console/settings", "/account", "/account/second-factor"):
        await seen.page.goto(path)
        await seen.look(path.rpartition("/")[2])


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
async def test_a_merchant_sells_a_card_and_takes_it(
    api: Instance, browser: Browser, settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    async with person(browser, api.base, **settings) as (_, page, found):
        seen = Measured(page, name, settings["script"])
        await page.goto("/sign-up")
        await seen.look("sign-up")
        await register(page, "Harbour & Rye")
        await seen.look("console-empty")
        await page.goto("/console/programs/new")
        await seen.look("program-new")
        await make_program(page)
        await seen.look("program")
        await page.goto("/console/cards/new")
        await seen.look("card-new")
        code = await issue_card(page, "31.60")
        await seen.look("card-code")
        await page.goto("/till")
        await seen.look("till")
        await find_at_till(page, code, "40.00")
        await seen.look("till-amount")
        await page.locator('button[value="asked"]').click()
        await expect(page).to_have_url(re.compile(r"/till/r/red_.*done=taken"))
        verdict = amounts(await page.locator(".verdict").inner_text())
        assert "31.60" in verdict.replace(",", ".")
        assert "8.40" in verdict.replace(",", ".")
        await seen.look("till-split")
        await page.locator('a[href^="/till/undo/"]').first.click()
        await seen.look("till-undo")
        await page.locator('input[value="part"]').check(force=True)
        await page.locator("#amount").fill("1.60")
        await page.locator("button.btn--stop-main").click()
        await expect(page).to_have_url(re.compile(r"done=undone"))
        await page.goto("/till/shift")
        totals = amounts(await page.locator("dl.roll").inner_text()).replace(",", ".")
        assert "31.60" in totals
        assert "30.00" in totals  # what remains
        await seen.look("till-shift")
        await page.goto("/console")
        await seen.look("console")
        await page.goto("/console/cards")
        await seen.look("cards")
        await page.locator("tbody a.code").first.click()
        await expect(page).to_have_url(re.compile(r"/console/cards/crd_"))
        await seen.look("card")
        await look_at_the_rest(seen)
        await page.goto("/nothing")
        await seen.look("not-found")
        require_clean(found)


async def test_every_action_of_a_card_has_its_button(  # noqa: PLR0915 -- one action after the other
    api: Instance, browser: Browser
) -> None:
    async with person(browser, api.base) as (_, page, found):
        await register(page, "Quay")
        await make_program(page)
        other = await issue_card(page, "20.00")
        code = await issue_card(page, "50.00")
        await page.locator('a[href^="/console/cards/crd_"]').last.click()
        here = page.url
        facts = page.locator(".stat dd").first

        async def open_dialog(name: str) -> Any:
            menu = page.locator("details.menu summary", has_text="More")
            if name != "dlg-block":
                await menu.click()
            await page.locator(f'button[popovertarget="{name}"]').first.click()
            return page.locator(f"#{name}")

        dialog = await open_dialog("dlg-load")
        await dialog.locator('input[name="amount"]').fill("10.00")
        await dialog.locator("button.btn--main").click()
        await expect(facts).to_contain_text("60")
        dialog = await open_dialog("dlg-adjust")
        await dialog.locator('input[value="take"]').check(force=True)
        await dialog.locator('input[name="amount"]').fill("5")
        await dialog.locator("#reason").fill("<b>typing</b> mistake")
        await dialog.locator("button.btn--main").click()
        await expect(facts).to_contain_text("55")
        await expect(page.locator("tbody")).to_contain_text("<b>typing</b> mistake")
        dialog = await open_dialog("dlg-adjust")
        await dialog.locator('input[value="take"]').check(force=True)
        await dialog.locator('input[name="amount"]').fill("500")
        await dialog.locator("#reason").fill("too much")
        await dialog.locator("button.btn--main").click()
        await expect(page.locator(".note--stop")).to_be_visible()
        await page.goto(here)
        await (await open_dialog("dlg-block")).locator("button.btn--stop-main").click()
        await expect(page.locator(".state--barred").first).to_be_visible()
        await find_at_till(page, code, "5")
        await page.locator('button[value="asked"]').click()
        await expect(page.locator(".verdict--no")).to_be_visible()
        await page.goto(here)
        await page.locator('form[action$="/unblock"] button').click()
        await expect(page.locator(".note--ok")).to_be_visible()
        await (await open_dialog("dlg-rotate")).locator("button.btn--main").click()
        fresh = (await page.locator("#code").inner_text()).strip()
        assert fresh != code
        await find_at_till(page, code)
        await expect(page.locator(".note--stop")).to_be_visible()  # the old code is none
        await find_at_till(page, fresh, "55.00")
        await page.locator('button[value="all"]').click()
        await expect(page).to_have_url(re.compile("done=taken"))
        await page.goto(here)
        await page.locator('button[popovertarget^="dlg-r"]', has_text="Refund").first.click()
        await page.locator("form.dialog:popover-open button.btn--main").click()
        await expect(facts).to_contain_text("55")
        assert other
        require_clean(found)


async def test_bulk_and_import_show_their_progress_and_the_codes_once(
    api: Instance, browser: Browser, workers: Any
) -> None:
    async with person(browser, api.base) as (_, page, found):
        await register(page, "Bulk")
        await make_program(page)
        await page.goto("/console/bulk")
        await page.locator("#quantity").fill("1,200")
        await page.locator("#amount").fill("25.00")
        await page.locator("button.btn--main").click()
        await expect(page.locator(".total")).to_contain_text("€30,000.00")
        await page.locator("button.btn--main").click()
        await expect(page).to_have_url(re.compile("/console/jobs/job_"))
        workers.start()
        await expect(page.locator("#job .state--full")).to_be_visible(timeout=60_000)
        await expect(page.locator(".stat__v")).to_contain_text("1,200")
        async with page.expect_download() as waiting:
            await page.locator('form[action$="/codes"] button').click()
        path = await (await waiting.value).path()
        assert len(path.read_text("utf-8").splitlines()) == 1201
        await page.reload()
        await expect(page.locator("#co")).to_have_count(0)
        await page.goto("/console/import")
        await page.locator("#program").select_option(index=1)
        content = "amount,recipient_email\n2500,a@example.com\nx,b@example.com\n"
        await page.locator("#file").set_input_files(
            {"name": "cards.csv", "mimeType": "text/csv", "buffer": content.encode()}
        )
        await page.locator("button.btn--main").click()
        await expect(page).to_have_url(re.compile("/console/jobs/job_"))
        await expect(page.locator("#e")).to_be_visible(timeout=60_000)
        require_clean(found)


async def test_what_a_hostile_person_types_stays_text(api: Instance, browser: Browser) -> None:
    async with person(browser, api.base) as (_, page, found):
        for typed in HOSTILE[:2]:
            await page.context.clear_cookies()
            await register(page, typed)
            await make_program(page)
        for typed in HOSTILE:
            await page.goto("/console/cards/new")
            await page.locator("#amount").fill("20")
            await page.locator("#reference").fill(typed)
            await page.locator(".panel__foot button.btn--main").click()
            link = page.locator('a[href^="/console/cards/crd_"]').last
            await link.click()
            await expect(page.locator("dl.kv")).to_contain_text(typed)
            await page.locator('button[popovertarget="dlg-block"]').first.click()
            await page.goto("/till")
            await page.locator("#code").fill("0000")
            await page.locator("#ref").fill(typed)
            await page.locator("form.stack button.btn--main").click()
            await expect(page.locator("#ref")).to_have_value(typed)
            await page.goto(f"/console/cards?q={typed.encode().hex()}&state=active")
            await page.goto("/sign-in?next=" + typed)
            assert await page.evaluate("window.broken") is None
        require_clean(found)


async def test_keyboard_alone_takes_a_card(api: Instance, browser: Browser) -> None:
    """A scanner is a keyboard: it types from anywhere on the page, and ends with Enter."""
    async with person(browser, api.base) as (_, page, found):
        await register(page, "Keys")
        await make_program(page)
        code = await issue_card(page, "20.00")
        await page.goto("/till")
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.type(code)
        await page.keyboard.press("Enter")
        await expect(page.locator("#sum")).to_be_focused()
        await page.keyboard.type("12.50")
        await page.keyboard.press("Enter")
        await expect(page.locator(".verdict")).to_contain_text("12")
        await page.keyboard.press("F2")
        await expect(page.locator("#code")).to_be_focused()
        require_clean(found)
