"""Shared pages: one instance renders, all send; losing Valkey costs the rendering only."""

import time
import uuid
from itertools import count
from typing import Any

import httpx
import pytest

from florin.kit.valkey import shared_values
from florin.kit.valkey.shared_values import SharedValues
from florin.web.public_pages import PublicPages, page_key
from florin.web.shared_pages import KEPT_S, SharedPages
from tests.conftest import Urls
from tests.support.instance import NO_TLS, Shop, instance
from tests.support.valkey_clients import valkey_client
from tests.support.valkey_server import memory
from tests.support.waiting import until
from tests.web.test_page_caching import open_storefront, rename

SECRET, OTHER = "a secret of the pages", "another secret"
BODY = b"<p>A page of a shop.</p>" * 100
PATIENT_S = 20.0


class Renderer:
    """Counts how often it renders."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bytes:
        self.times += 1
        return BODY


def pages(client: Any, *secrets: str, release: str = "r1") -> PublicPages:
    """The pages of an instance that has just started."""
    return PublicPages(SharedPages(values(client, *(secrets or (SECRET,))), release))


def values(client: Any, *secrets: str) -> SharedValues:
    return SharedValues(client, secrets, use="page", kept_s=KEPT_S)


@pytest.fixture(scope="module")
def valkey():
    with memory() as running:
        yield running


@pytest.fixture
async def client(valkey: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_values, "_PATIENCE_S", PATIENT_S)
    async with valkey_client(valkey.url) as made:
        yield made


@pytest.fixture
def key() -> bytes:
    return page_key(uuid.uuid4().hex)


async def test_a_page_is_rendered_once_for_all_instances(client: Any, key: bytes) -> None:
    render = Renderer()
    kept = [await pages(client).page(key, render) for _ in range(3)]
    assert render.times == 1
    assert {(each.body, each.packed, each.tag, each.kind) for each in kept} == {
        (BODY, kept[0].packed, kept[0].tag, "text/html")
    }
    names = await client.keys("florin:page:*")
    assert names
    assert all([0 < await client.ttl(name) <= KEPT_S for name in names])


async def test_a_page_of_another_release_or_key_is_rendered(client: Any, key: bytes) -> None:
    render = Renderer()
    await pages(client).page(key, render)
    await pages(client, release="r2").page(key, render)
    await pages(client).page(page_key("other"), render)
    assert render.times == 3


async def test_a_page_without_a_valid_signature_is_rendered(client: Any, key: bytes) -> None:
    """Who can write to Valkey cannot write pages, nor move one to another address."""
    render = Renderer()
    await pages(client, OTHER).page(key, render)
    assert (await pages(client).page(key, render)).body == BODY
    assert render.times == 2
    await pages(client, OTHER, SECRET).page(key, render)  # a secret that was renewed
    assert render.times == 2
    other = page_key(uuid.uuid4().hex)
    kept = values(client, SECRET)
    shared = SharedPages(kept, "r1")
    name, elsewhere = [kept.name(shared.key(each)) for each in (key, other)]
    content = await client.get(name)
    for forged in (content, content[:-1] + b"x", content[:40], b"", b"x" * 200):
        await client.set(elsewhere, forged)
        assert await shared.find(other, "text/html") is None
    assert await shared.find(key, "text/html") is not None


async def test_a_valkey_that_does_not_answer_costs_a_moment_once(key: bytes) -> None:
    render = Renderer()
    with memory() as running:
        async with valkey_client(running.url) as client:
            running.freeze()
            kept = pages(client)
            begun = time.monotonic()
            for n in range(5):
                assert (await kept.page(page_key(key, n), render)).body == BODY
            assert time.monotonic() - begun < 1
            running.thaw()
            running.kill()
            assert (await pages(client).page(key, render)).body == BODY
    assert render.times == 6


async def test_an_instance_without_valkey_renders_its_own(key: bytes) -> None:
    render = Renderer()
    kept = pages(None)
    for _ in range(2):
        assert (await kept.page(key, render)).body == BODY
    assert render.times == 1


@pytest.mark.slow
async def test_the_storefront_is_served_before_and_after_the_loss(
    urls: Urls, owner: Any, shop: Shop
) -> None:
    home = await open_storefront(owner, shop)
    database = f"{urls.app}?connection_limit=3"
    with memory() as running:
        settings = {"REDIS_URL": running.url}
        with instance(database, **settings) as one, instance(database, **settings) as two:
            async with httpx.AsyncClient(timeout=60, verify=NO_TLS) as http:
                async with valkey_client(running.url) as client:
                    names = count()

                    async def is_shared() -> bool:  # an instance on a busy machine may be late
                        await rename(owner, shop, f"Harbour {next(names)}")
                        await http.get(one.base + home)
                        return bool(await client.keys("florin:page:*"))

                    await until(is_shared)
                first = await http.get(one.base + home)
                second = await http.get(two.base + home)
                assert second.content == first.content
                assert second.headers["etag"] == first.headers["etag"]
                running.kill()
                for each in (one, two):
                    answer = await http.get(f"{each.base}{home}/balance")
                    assert answer.status_code == 200
