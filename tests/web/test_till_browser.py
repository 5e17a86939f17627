"""Till in a browser: the camera reads a code by either reader; a lost network doubles nothing."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, Route, expect

from florin.kit.http.static_files import static_url
from tests.support.api_calls import Json, made, read
from tests.support.browser import needs_chromium
from tests.support.camera_picture import camera_flags, film_qr
from tests.support.instance import Instance
from tests.support.members import PASSWORD, SignedInMember, client_of, register
from tests.support.page_browser import chromium, person
from tests.web.test_journeys import find_at_till, require_clean

pytestmark = needs_chromium
TAKEN = re.compile(r"/till/r/red_.*done=taken")
# Stands for the detector of Android, ChromeOS and macOS, which Debian's Chromium has not: it reads
# what the camera shows only once there is a picture.
DETECTOR = """window.BarcodeDetector = class {
  static async getSupportedFormats() { return ["code_128", "qr_code"]; }
  async detect(view) { return view.videoWidth ? [{rawValue: "%s"}] : []; }
}"""


@pytest.fixture(scope="module")
async def browser():
    async with chromium() as running:
        yield running


@pytest.fixture
async def boss(api: Instance) -> SignedInMember:
    async with client_of(api) as anonymous:
        return await register(anonymous)


@pytest.fixture
async def http(api: Instance, boss: SignedInMember):
    async with client_of(api, **boss.headers) as client:
        yield client


@pytest.fixture
async def card(http: httpx.AsyncClient) -> Json:
    program = {"name": "Card", "currency": "EUR", "min_amount": 500, "max_amount": 50_000}
    sent = {"program": (await made(http, "/programs", program))["id"], "amount": 5000}
    return await made(http, "/cards", sent)


async def go_to_till(page: Page, boss: SignedInMember) -> None:
    await page.goto("/sign-in?next=/till")
    await page.locator("#email").fill(boss.email)
    await page.locator("#password").fill(PASSWORD)
    await page.locator("form button.btn--main").click()
    await expect(page).to_have_url(re.compile(r"/till$"))


def loaded(page: Page) -> list[str]:
    """The names of the files of the reader that the page asks for from now on."""
    asked: list[str] = []

    def requested(request: Any) -> None:
        if "zxing" in request.url:
            asked.append(request.url.rpartition("/")[2])

    page.on("request", requested)
    return asked


@pytest.mark.parametrize("own", [False, True], ids=["zxing", "detector"])
async def test_the_camera_reads_the_code_of_a_card(
    api: Instance, boss: SignedInMember, card: Json, tmp_path: Path, own: bool
) -> None:
    """By the browser's detector nothing is loaded; without one, the reader, but no sooner than
    the camera is opened.
    """
    film = tmp_path / "card.y4m"
    film_qr("nothing of ours" if own else card["code"], film)
    async with (
        chromium(*camera_flags(film)) as browser,
        person(browser, api.base, width=390) as (_, page, found),
    ):
        if own:
            await page.add_init_script(DETECTOR % card["code"])
        asked = loaded(page)
        await go_to_till(page, boss)
        assert not asked
        await page.locator("[data-camera-start]").click()
        await expect(page.locator("#sum")).to_be_visible()
        await expect(page.locator("dd.code")).to_contain_text(card["code"][-4:])
        files = [static_url(name).rpartition("/")[2] for name in READER]
        assert asked == ([] if own else files)
        require_clean(found)


READER = ("zxing-reader.js", "zxing-reader.wasm")


async def test_only_the_page_with_the_camera_may_compile_and_film(
    api: Instance, boss: SignedInMember, browser: Browser
) -> None:
    async with person(browser, api.base) as (_, page, _):
        await go_to_till(page, boss)
        for path, allowed in (("/till", True), ("/till/shift", False), ("/console", False)):
            answer = await page.goto(path)
            assert answer is not None
            policy = answer.headers["content-security-policy"]
            assert ("'wasm-unsafe-eval'" in policy) == allowed, path
            assert "'unsafe-eval'" not in policy
            films = answer.headers["permissions-policy"]
            assert films == ("camera=(self)" if allowed else "camera=()"), path


async def test_without_a_camera_the_page_says_so(
    api: Instance, boss: SignedInMember, browser: Browser
) -> None:
    async with person(browser, api.base) as (_, page, found):
        await go_to_till(page, boss)
        await page.locator("[data-camera-start]").click()
        await expect(page.locator("[data-camera-away]")).to_be_visible()
        await expect(page.locator("video")).to_be_hidden()
        require_clean(found)


async def test_a_till_without_network_takes_once_it_is_back(
    api: Instance, boss: SignedInMember, browser: Browser, http: httpx.AsyncClient, card: Json
) -> None:
    async with person(browser, api.base) as (context, page, _):
        await go_to_till(page, boss)
        await find_at_till(page, card["code"], "12.50")
        await expect(page.locator(".off")).to_be_hidden()
        await context.set_offline(True)
        await expect(page.locator(".off")).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-unsettled]")).to_be_visible()
        assert await balance(http, card) == 5000
        await context.set_offline(False)
        await expect(page.locator(".off")).to_be_hidden()
        await expect(page).to_have_url(TAKEN)
        assert await balance(http, card) == 3750


@pytest.mark.slow
async def test_lost_answers_take_nothing_more(
    api: Instance, boss: SignedInMember, browser: Browser, http: httpx.AsyncClient, card: Json
) -> None:
    """The server has the request, and the network is lost before its answer arrives: twice, while
    the cashier presses the button again.
    """
    sent: list[str] = []

    async def lose(route: Route) -> None:
        sent.append(route.request.post_data or "")
        if len(sent) > 2:
            await route.continue_()
            return
        await route.fetch(max_redirects=0)
        await route.abort("connectionreset")

    async with person(browser, api.base) as (_, page, _):
        await go_to_till(page, boss)
        await find_at_till(page, card["code"], "12.50")
        await page.route("**/till/take", lose)
        await page.locator('button[value="asked"]').click()
        await expect(page.locator("[data-unsettled]")).to_be_visible()
        await page.keyboard.press("F8")  # "Take what is there"
        await expect(page).to_have_url(TAKEN)
        assert len(sent) == 3
        assert len(set(sent)) == 1
        assert await balance(http, card) == 3750
        undo = await page.locator('a[href^="/till/undo/"]').first.get_attribute("href")
        await page.goto(undo or "")
        sent.clear()
        await page.route("**/till/undo/*", lose)
        await page.locator("button.btn--stop-main").click()
        await expect(page).to_have_url(re.compile("done=undone"))
        assert len(sent) == 3
        assert await balance(http, card) == 5000


@pytest.mark.slow
@pytest.mark.parametrize("meanwhile", ["reload", "refused", "signed-out"])
async def test_what_comes_after_a_lost_answer_takes_nothing_more(
    api: Instance,
    boss: SignedInMember,
    browser: Browser,
    http: httpx.AsyncClient,
    card: Json,
    meanwhile: str,
) -> None:
    """The page is loaded again, the limit of guesses is reached by others, the session ends."""
    sent: list[str] = []
    is_loaded = False

    async def lose(route: Route) -> None:
        sent.append(route.request.post_data or "")
        if len(sent) == 1 or (meanwhile == "reload" and not is_loaded):
            await route.fetch(max_redirects=0)
            await route.abort("connectionreset")
        elif meanwhile == "refused" and len(sent) == 2:
            await route.fulfill(status=429, body="Too many wrong codes.")
        else:
            await route.continue_()

    async with person(browser, api.base) as (context, page, _):
        await go_to_till(page, boss)
        await find_at_till(page, card["code"], "12.50")
        await page.route("**/till/take", lose)
        await page.locator('button[value="asked"]').click()
        await expect(page.locator("[data-unsettled]")).to_be_visible()
        assert await balance(http, card) == 3750
        if meanwhile == "reload":
            is_loaded = True
            await page.goto("/till")
        elif meanwhile == "signed-out":
            await context.clear_cookies()
            await expect(page).to_have_url(re.compile("/sign-in"))
            await page.locator("#email").fill(boss.email)
            await page.locator("#password").fill(PASSWORD)
            await page.locator("form button.btn--main").click()
        await expect(page).to_have_url(TAKEN)
        assert len(set(sent)) == 1
        assert await balance(http, card) == 3750
        await page.goto("/till")  # nothing is left to be sent
        await expect(page.locator("[data-unsettled]")).to_be_hidden()


async def test_the_page_of_a_sale_can_be_loaded_again(
    api: Instance, boss: SignedInMember, browser: Browser, card: Json
) -> None:
    """It alone shows the code of the card."""
    del card  # its program sells another one
    async with person(browser, api.base) as (_, page, found):
        await go_to_till(page, boss)
        await page.goto("/till/sell")
        await page.locator("#sum").fill("25.00")
        await page.locator("form[data-settle] button.btn--main").click()
        code = await page.locator("p#code").inner_text()
        await page.reload()
        assert await page.locator("p#code").inner_text() == code
        require_clean(found)


async def test_a_plastic_card_from_the_drawer_is_sold(
    api: Instance, boss: SignedInMember, browser: Browser, http: httpx.AsyncClient, card: Json
) -> None:
    """The scripts send the form twice, to show its page; a reload sends it once more."""
    sent = {"program": card["program"], "amount": 2500, "activate": False}
    plastic = await made(http, "/cards", sent)
    async with person(browser, api.base) as (_, page, found):
        await go_to_till(page, boss)
        await page.goto("/till/sell")
        await page.locator('label:has(input[name="how"][value="plastic"])').click()
        await page.locator("#code").fill(plastic["code"])
        await page.locator("form[data-settle] button.btn--main").click()
        await expect(page.locator(".verdict")).to_have_text(re.compile("Sold.*The card is active."))
        await page.reload()
        await expect(page.locator(".verdict")).to_have_text(re.compile("Sold.*The card is active."))
        assert await balance(http, plastic) == 2500
        require_clean(found)


async def test_a_refusal_is_shown_as_without_scripts(
    api: Instance, boss: SignedInMember, browser: Browser, http: httpx.AsyncClient, card: Json
) -> None:
    async with person(browser, api.base) as (_, page, found):
        await go_to_till(page, boss)
        await find_at_till(page, card["code"], "12.50")
        await page.locator("#sum").fill("nothing")
        await page.keyboard.press("Enter")
        await expect(page.locator(".note--stop").last).to_be_visible()
        await expect(page.locator("#sum")).to_be_focused()
        await page.locator("#sum").fill("12.50")  # the scripts of the new page run
        await expect(page.locator("[data-take]")).to_contain_text("12.50")
        await made(http, f"/cards/{card['id']}/block", status=200)
        await page.keyboard.press("Enter")
        await expect(page.locator(".verdict--no")).to_be_visible()
        require_clean(found)


async def balance(http: httpx.AsyncClient, card: Json) -> int:
    return (await read(http, f"/cards/{card['id']}"))["balance"]
