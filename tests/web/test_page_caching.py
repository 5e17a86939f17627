"""Page caching: a caching proxy in front of the balancer answers public pages by itself, and never
gives one person what another asked for.

The proxies look at no cookie, so only what a page says of itself keeps it out of them.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.ops.fleet.timing import DEFAULT
from florin.web.pages import PUBLIC_S
from tests.ops.haproxy.haproxy_process import running
from tests.orders.selling import buy
from tests.support.api_calls import issue, made
from tests.support.caching_proxy import caching_proxy, needs_nginx
from tests.support.instance import NO_TLS, Instance, Shop, make_shop
from tests.support.members import SignedInMember, client_of, register, uuid_of
from tests.support.page_client import SAME_ORIGIN, sign_in
from tests.support.waiting import until

GERMAN = {"accept-language": "de"}
EACH_PROXY = pytest.mark.parametrize("kind", ["haproxy", pytest.param("nginx", marks=needs_nginx)])


@asynccontextmanager
async def edge(kind: str, api: Instance, folder: Path) -> AsyncGenerator[str]:
    """A caching proxy, the balancer, the instance; return the address of the proxy."""
    async with running(folder, timing=DEFAULT) as run:
        await run.balancer.admit("api", f"127.0.0.1:{api.port}")
        await run.until("api", lambda seen: seen.check == "up")
        async with caching_proxy(kind, run.balancer.address, folder) as proxy:
            yield proxy.base


def visitor(base: str, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=base, headers={**SAME_ORIGIN, **headers}, timeout=60, verify=NO_TLS
    )


async def open_storefront(owner: Any, shop: Shop, name: str = "Harbour") -> str:
    slug = f"shop-{uuid.uuid4().hex[:12]}"
    await owner.execute(
        "insert into florin.branding (merchant, slug) values ($1, $2)", shop.merchant, slug
    )
    await owner.execute(
        "update florin.program set min_amount = 1000, max_amount = 20000 where merchant = $1",
        shop.merchant,
    )
    await rename(owner, shop, name)
    return f"/s/{slug}"


async def rename(owner: Any, shop: Shop, name: str) -> None:
    await owner.execute("update florin.merchant set name = $2 where id = $1", shop.merchant, name)


def is_hit(answer: httpx.Response) -> bool:
    return answer.headers.get("x-cache") in {"HIT", "STALE", "UPDATING", "REVALIDATED"}


@EACH_PROXY
async def test_public_pages_come_from_the_cache(
    api: Instance, owner: Any, shop: Shop, tmp_path: Path, kind: str
) -> None:
    home = await open_storefront(owner, shop)
    async with edge(kind, api, tmp_path) as base, visitor(base) as http:
        for path in (home, f"{home}/{shop.program}", f"{home}/balance"):
            first = await http.get(path)
            again = await http.get(path)
            assert [is_hit(first), is_hit(again)] == [False, True], (path, again.headers)
            # The very answer of before: the origin gives each request another id.
            assert again.headers["x-request-id"] == first.headers["x-request-id"]
            assert again.content == first.content
            assert int(again.headers.get("age", 0)) < PUBLIC_S
            german = await http.get(path, headers=GERMAN)
            assert 'lang="de"' in german.text
            assert 'lang="en"' in (await http.get(path)).text
            assert is_hit(await http.get(path, headers=GERMAN))
            plain = await http.get(path, headers={"accept-encoding": "identity"})
            assert "content-encoding" not in plain.headers
            assert plain.text == first.text
            known = {"if-none-match": first.headers["etag"]}
            unchanged = await http.get(path, headers=known)
            assert (unchanged.status_code, unchanged.content) == (304, b"")
        sheet = next(each for each in first.text.split('"') if each.startswith("/static/florin."))
        assert not is_hit(await http.get(sheet))
        assert is_hit(await http.get(sheet))


@EACH_PROXY
async def test_no_one_gets_what_another_asked_for(
    api: Instance, owner: Any, database: Database, tmp_path: Path, kind: str
) -> None:
    """Each private page is asked for by its person, who may fill the cache, then by others."""
    async with client_of(api) as anonymous:
        people = [await register(anonymous) for _ in range(2)]
    secrets = await private_pages(api, owner, people[0])
    stranger_shop = await make_shop(owner, database)
    home = await open_storefront(owner, stranger_shop)
    async with (
        edge(kind, api, tmp_path) as base,
        visitor(base) as first,
        visitor(base) as second,
        visitor(base) as unknown,
    ):
        await sign_in(first, people[0].email)
        await sign_in(second, people[1].email)
        for path, secret in secrets.items():
            own = [await first.get(path) for _ in range(2)]
            for answer in own:
                assert secret in answer.text, (path, secret)
                assert answer.headers["cache-control"] == "no-store"
            others = [await second.get(path), await unknown.get(path), await first.head(path)]
            assert not any(is_hit(answer) for answer in own + others), path
            assert len({answer.headers["x-request-id"] for answer in own + others}) == 5
            if path.startswith(("/c/", "/o/")):  # the address is what its holder has
                continue
            for answer in others[:2]:
                assert secret not in answer.text, path
        # A public page that a person asks for, and a form of it, leave nothing of that person.
        for path in (home, f"{home}/balance"):
            shown = await first.get(path)
            assert "set-cookie" not in shown.headers
            assert people[0].email not in shown.text
        typed = {"amount": "5000", "way": "print", "to": "Tomás of the first"}
        answer = await first.post(f"{home}/{stranger_shop.program}", data=typed)
        assert "Tomás of the first" in answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert (
            "Tomás of the first" not in (await unknown.get(f"{home}/{stranger_shop.program}")).text
        )
        signed_out = await unknown.get("/console")
        assert signed_out.status_code == 303
        assert not is_hit(signed_out)


async def private_pages(api: Instance, owner: Any, boss: SignedInMember) -> dict[str, str]:
    """The addresses of pages of one person, each with a text that no one else may see."""
    merchant = uuid_of("mer", boss.tokens["merchant"]["id"])
    await owner.execute("update florin.merchant set name = 'Of the first' where id = $1", merchant)
    async with client_of(api, **boss.headers) as http:
        program = await made(http, "/programs", {
            "name": "Card of the first", "currency": "EUR", "min_amount": 500,
            "max_amount": 50_000,
        })  # fmt: skip
        shop = Shop(merchant, program["id"], "")
        card = await issue(http, shop, 4200, deliver={"channel": "link"})
        order = await buy(http, shop, 5000)
    token = card["url"].rpartition("/")[2]
    return {
        "/console": "Of the first",
        "/console/cards": card["id"],
        f"/console/cards/{card['id']}": card["id"],
        "/console/orders": order["id"],
        "/console/settings": "Of the first",
        "/account": boss.email,
        "/till": "Of the first",
        f"/c/{token}": card["code"],
        f"/c/{token}/till": card["code"][-4:],
        f"/o/{order['url'].rpartition('/')[2]}": str(order["number"]),
    }


@needs_nginx
@pytest.mark.long_form("pages")
async def test_a_stale_page_is_shown_while_it_is_made_anew(
    api: Instance, owner: Any, shop: Shop, database: Database, tmp_path: Path
) -> None:
    """After PUBLIC_S real seconds: the old page at once, the new one soon; what did not change is
    revalidated by its ETag, without its body.
    """
    other = await make_shop(owner, database)
    changing = await open_storefront(owner, shop, "Before")
    steady = await open_storefront(owner, other, "Steady")
    async with edge("nginx", api, tmp_path) as base, visitor(base) as http:
        for path in (changing, steady):
            assert not is_hit(await http.get(path))
        await rename(owner, shop, "Afterwards")
        assert "Before" in (await http.get(changing)).text
        await asyncio.sleep(PUBLIC_S + 1)
        stale = await http.get(changing)
        assert stale.headers["x-cache"] == "STALE"
        assert "Before" in stale.text

        async def renewed() -> bool:
            return "Afterwards" in (await http.get(changing)).text

        await until(renewed)
        assert (await http.get(steady)).headers["x-cache"] == "STALE"

        async def revalidated() -> bool:
            lines = api.log.read_text("utf-8").splitlines()
            return any(f'"{steady}"' in line and "304" in line for line in lines)

        await until(revalidated)
        fresh = await http.get(steady)
        assert fresh.headers["x-cache"] == "HIT"
