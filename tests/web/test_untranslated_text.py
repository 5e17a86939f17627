"""Untranslated text: every text of every public page comes from a catalogue."""

import re
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.orders.selling import buy, choose, place
from tests.support.api_calls import made, redeem
from tests.support.instance import Instance, Shop, instance
from tests.support.page_client import hidden_fields, page_client
from tests.support.pseudo_language import LANGUAGE, copy_with_pseudo_language, find_unmarked

NAMES = {"Harbour", "Deutsch", "English", "Esperanto", "DE", "EN", "Florin", "PDF", "Shop", "Card"}
DATA = {*NAMES, "tomas@example.com", "aoife@example.com", "Quay Street", "UTC"}
GIFT = {"recipient": {"email": "tomas@example.com"}, "deliver": {"channel": "email"}}


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    """An instance of the copy with the pseudo-language."""
    with tempfile.TemporaryDirectory(prefix="florin-pseudo-") as folder:
        path = copy_with_pseudo_language(Path(folder))
        with instance(f"{urls.app}?connection_limit=5", PYTHONPATH=str(path)) as running:
            yield running


@pytest.fixture
async def visitor(api: Instance) -> AsyncGenerator[httpx.AsyncClient]:
    async with page_client(api, **{"accept-language": LANGUAGE}) as client:
        yield client


@pytest.fixture
async def slug(owner: Any, shop: Shop) -> str:
    named = f"shop-{shop.merchant.hex[-12:]}"
    await owner.execute(
        "insert into florin.branding (merchant, slug) values ($1, $2)", shop.merchant, named
    )
    return named


def require_marked(answer: httpx.Response, status: int = 200) -> None:
    assert answer.status_code == status, answer.text
    assert f'lang="{LANGUAGE}"' in answer.text
    unmarked = find_unmarked(answer.text, DATA)
    assert not unmarked, f"{answer.url}: {unmarked}"


def test_a_text_without_marks_is_found() -> None:
    page = '<p>⟦Paid⟧ 12 May</p><p>Nearly</p><b title="Go">⟦a ⟦b⟧ c⟧</b><svg>x</svg><p>Harbour</p>'
    assert find_unmarked(page, {"Harbour"}) == ["Nearly", "Go"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/sign-in", 200), ("/sign-up", 200), ("/reset", 200), ("/nothing", 404), ("/balance", 200),
     ("/c/x", 404), ("/o/x", 404), ("/s/x", 404), ("/balance?shop=none-such", 404),
     ("/invite/x", 200), ("/verify/x", 200)],
)  # fmt: skip
@pytest.mark.usefixtures("slug")
async def test_the_pages_without_a_shop(visitor: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await visitor.get(path)
    if answer.status_code == 303:  # there is one shop only
        answer = await visitor.get(answer.headers["location"])
    require_marked(answer, status)


async def test_the_pages_of_a_card(
    visitor: httpx.AsyncClient, http: httpx.AsyncClient, shop: Shop, slug: str, owner: Any
) -> None:
    body = {"program": shop.program, "amount": 5000, "deliver": {"channel": "link"}}
    card = await made(http, "/cards", body)
    url = "/c/" + card["url"].rpartition("/")[2]
    await redeem(http, card, 1250, location="Quay Street")
    await made(http, "/holds", {"card": card["id"], "amount": 1000, "currency": "EUR"})
    asking = f"/s/{slug}/balance"
    for path in (url, f"{url}/till", f"{url}/top-up", asking):
        require_marked(await visitor.get(path))
    require_marked(await visitor.post(f"{url}/top-up", data={"amount": "x"}), 422)
    require_marked(await visitor.post(asking, data={"code": card["code"], "pin": ""}))
    require_marked(await visitor.post(asking, data={"code": "x", "pin": ""}), 422)
    require_marked(await visitor.post(asking, data={"code": card["code"], "pin": "1"}), 422)
    require_marked(await visitor.post(asking, data={"code": "0" * 16, "pin": ""}), 404)
    for state in ("blocked", "closed", "pending"):
        await owner.execute(
            "update florin.account set state = $2::text::florin.card_state, held = 0,"
            " balance = case when $2 = 'blocked' then balance else 0 end where merchant = $1",
            shop.merchant,
            state,
        )
        require_marked(await visitor.get(url))
    await owner.execute(
        "update florin.account set state = 'active', expires_at = now() where merchant = $1",
        shop.merchant,
    )
    require_marked(await visitor.get(url))


async def test_the_pages_of_a_purchase(
    visitor: httpx.AsyncClient, shop: Shop, slug: str, owner: Any
) -> None:
    await owner.execute(
        "update florin.program set min_amount = 1000, max_amount = 20000 where merchant = $1",
        shop.merchant,
    )
    form = f"/s/{slug}/{shop.program}"
    typed = {"amount": "5000", "way": "email", "to_email": "tomas@example.com", "when": "now"}
    require_marked(await visitor.get(f"/s/{slug}"))
    require_marked(await visitor.post(form, data={**typed, "to_email": "x", "amount": "1"}), 422)
    checkout = await visitor.post(form, data=typed)
    require_marked(checkout)
    draft = hidden_fields(checkout.text)["draft"]
    wrong = await visitor.post(f"/s/{slug}/orders", data={"draft": draft, "email": "x"})
    require_marked(wrong, 422)


@pytest.mark.parametrize("outcome", ["declined", "delayed", None])
async def test_the_pages_of_an_order_that_is_not_paid(
    visitor: httpx.AsyncClient, http: httpx.AsyncClient, shop: Shop, outcome: str | None
) -> None:
    order = await place(http, shop)
    if outcome:
        await choose(order, outcome)
    require_marked(await visitor.get("/o/" + order["url"].rpartition("/")[2]))


@pytest.mark.parametrize("state", ["waiting", "due", "sent", "bounced", "cancelled"])
async def test_the_pages_of_an_order_that_is_paid(
    visitor: httpx.AsyncClient, http: httpx.AsyncClient, shop: Shop, owner: Any, state: str
) -> None:
    order = await buy(http, shop, items=[{"program": shop.program, "amount": 5000, **GIFT}])
    url = "/o/" + order["url"].rpartition("/")[2]
    await owner.execute(
        "update florin.delivery set state = $2 where merchant = $1", shop.merchant, state
    )
    for path in (url, f"{url}/withdraw", f"{url}?done=resent", f"{url}?done=corrected"):
        require_marked(await visitor.get(path))
    [found] = re.findall(r"/deliveries/(dlv_\w+)", (await visitor.get(url)).text) or [None]
    if found and state != "sent":
        wrong = await visitor.post(f"{url}/deliveries/{found}", data={"address": "x"})
        require_marked(wrong, 422)
    await visitor.post(f"{url}/withdraw")
    require_marked(await visitor.get(f"{url}?done=withdrawn"))
