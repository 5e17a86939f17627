"""Card page: what a holder sees of a card in each state, and that no one else learns of it."""

import io
import re
from typing import Any

import httpx
import pypdf
import pytest

from tests.support.api_calls import made, redeem
from tests.support.instance import NO_TLS, Shop

RECIPIENT = {"name": "Tomás", "email": "tomas@home.example"}
HOSTILE = "</title><script>window.broken=1</script>\"'>"
CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}([- ])[0-9A-HJKMNP-TV-Z]{4}\1[0-9A-HJKMNP-TV-Z]{4}")


async def linked(http: httpx.AsyncClient, shop: Shop, **fields: Any) -> dict[str, Any]:
    """A card with the address of its page."""
    body = {"program": shop.program, "amount": 5000, "recipient": RECIPIENT}
    return await made(http, "/cards", {**body, "deliver": {"channel": "link"}, **fields})


async def page(url: str, **query: Any) -> httpx.Response:
    async with httpx.AsyncClient(verify=NO_TLS, timeout=60) as client:
        return await client.get(url, params=query or None)


def heading(answer: httpx.Response) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", answer.text, re.DOTALL)
    assert found is not None
    return found[1]


async def test_an_active_card_shows_balance_code_and_statement(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await linked(http, shop, deliver={"channel": "link", "message": HOSTILE})
    await redeem(http, card, 1250, location=HOSTILE)
    hold = {"card": card["id"], "amount": 1000, "currency": "EUR"}
    await made(http, "/holds", hold)
    shown = await page(card["url"])
    assert heading(shown) == "Your gift card"
    assert re.search(r'class="amount ">€27<span class="min min--real">\.50', shown.text)
    assert "Another €10.00 is set aside" in shown.text
    assert "\N{MINUS SIGN}€12.50" in shown.text
    assert "+€50.00" in shown.text
    assert "Valid until the end of" in shown.text
    assert card["code"] in shown.text
    assert "<script>window" not in shown.text
    assert shown.text.count("&lt;script&gt;window.broken") == 2
    assert "Tomás" not in shown.text  # no name and no address: a link may be passed on
    till = await page(f"{card['url']}/till", lang="de")
    assert heading(till) == "An der Kasse zeigen"
    assert till.text.count('role="img"') == 2
    assert "27,50" in till.text.replace('<span class="min min--real">', "")


async def test_nothing_of_a_card_is_kept_or_found(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await linked(http, shop)
    for path in ("", "/till", "/qr.svg", "/card.pdf", "x"):
        answer = await page(f"{card['url']}{path}")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not {"etag", "set-cookie", "last-modified"} & set(answer.headers)


async def test_every_refused_address_has_one_answer(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await linked(http, shop)
    assert (await page(card["url"])).status_code == 200
    await made(http, f"/cards/{card['id']}/link", {}, status=200)
    begin = card["url"].rpartition("/")[0]
    addresses = [card["url"], f"{begin}/{'A' * 22}", f"{begin}/x", f"{begin}/{'-' * 22}"]
    paths = ("", "/till", "/qr.svg", "/card.pdf", "/top-up")
    answers = [await page(f"{each}{path}") for each in addresses for path in paths]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    own = {"x-request-id", "date"}
    heads = [{k: v for k, v in answer.headers.items() if k not in own} for answer in answers]
    assert all(head == heads[0] for head in heads)
    german = await page(f"{begin}/x", lang="de")
    assert heading(german) == "Unter dieser Adresse gibt es keine Karte"


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("empty", "Your gift card is empty"),
        ("blocked", "Your gift card is blocked"),
        ("expired", "Your gift card has expired"),
        ("closed", "Your gift card is closed"),
        ("pending", "Your gift card is not active yet"),
    ],
)
async def test_a_card_that_cannot_be_spent_shows_no_code(
    http: httpx.AsyncClient, shop: Shop, owner: Any, state: str, title: str
) -> None:
    card = await linked(http, shop)
    if state in {"empty", "closed"}:
        await redeem(http, card, 5000, location="Quay Street")
    if state == "closed":
        await made(http, f"/cards/{card['id']}/close", {}, status=200)
    if state == "blocked":
        await made(http, f"/cards/{card['id']}/block", {}, status=200)
    if state == "expired":
        await owner.execute(
            "update florin.account set expires_at = now() - interval '1 s' where merchant = $1",
            shop.merchant,
        )
    if state == "pending":
        await owner.execute(
            "update florin.account set state = 'pending', balance = 0 where merchant = $1",
            shop.merchant,
        )
    shown = await page(card["url"])
    assert (shown.status_code, heading(shown)) == (200, title)
    assert not CODE.search(shown.text)
    till = await page(f"{card['url']}/till", lang="de")
    assert till.status_code == 303
    assert till.headers["location"].endswith("?lang=de")
    for path in ("/qr.svg", "/card.pdf"):
        assert (await page(f"{card['url']}{path}")).status_code == 404


async def test_a_long_statement_has_pages(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await linked(http, shop)
    for n in range(13):
        await redeem(http, card, 100 + n, location=f"Place {n}")
    first = await page(card["url"])
    assert first.text.count("Place ") == 12
    [older] = re.findall(r"before=(\d+)", first.text)
    second = await page(card["url"], before=older)
    assert second.text.count("Place ") == 1
    assert "+€50.00" in second.text
    for odd in ("0", "-1", "9" * 30, "x"):
        assert (await page(card["url"], before=odd)).status_code in {200, 400, 422}


async def test_the_pdf_has_the_language_and_the_paper_of_its_reader(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    await owner.execute("update florin.merchant set country = 'US' where id = $1", shop.merchant)
    card = await linked(http, shop)
    answer = await page(f"{card['url']}/card.pdf", lang="de")
    [sheet] = pypdf.PdfReader(io.BytesIO(answer.content)).pages
    assert round(sheet.mediabox.width) == 612
    assert "Geschenkkarte" in sheet.extract_text()


async def test_times_are_those_of_the_merchant(aging: Any, owner: Any) -> None:
    http, shop, pass_time = aging
    await owner.execute(
        "update florin.merchant set timezone = 'Pacific/Auckland' where id = $1", shop.merchant
    )
    card = await linked(http, shop)
    shown = await page(card["url"])
    assert "(time of Auckland)" in shown.text
    await pass_time(days=61 * 31)
    assert heading(await page(card["url"])) == "Your gift card has expired"
