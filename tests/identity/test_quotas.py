"""Quotas of API keys and members, over HTTP. See cards/api/test_quotas.py for the other quotas."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from florin.identity import api_keys
from florin.identity.scopes import SCOPES
from florin.kit.postgres.database import Database
from florin.ledger import quotas
from tests.conftest import Urls
from tests.support.api_calls import exceeded, key
from tests.support.members import (
    SignedInMember,
    address,
    bearer,
    lock_waits,
    register,
    uuid_of,
)

PATHS = {"api_keys": "/api-keys", "members": "/members"}


async def merchant_of(http: httpx.AsyncClient, boss: SignedInMember) -> UUID:
    answer = await http.get("/merchant", headers=boss.headers)
    return uuid_of("mer", answer.json()["id"])


async def limit(owner: Any, merchant: UUID, name: str, most: int) -> None:
    await quotas.set_limit(owner, merchant, name, most, actor="operator:tests")


async def create(http: httpx.AsyncClient, name: str, headers: dict[str, str]) -> httpx.Response:
    body = (
        {"name": "k", "scopes": ["keys:write"]}
        if name == "api_keys"
        else {"email": address("invited"), "role": "viewer"}
    )
    return await http.post(PATHS[name], json=body, headers=headers)


async def test_revoked_keys_do_not_count_and_a_repetition_is_answered(
    http: httpx.AsyncClient, owner: Any
) -> None:
    boss = await register(http)
    await limit(owner, await merchant_of(http, boss), "api_keys", 2)
    once = {**boss.headers, **key()}
    first = await create(http, "api_keys", once)
    assert first.status_code == 201
    by_key = await create(http, "api_keys", bearer(first.json()["secret"]))
    assert by_key.status_code == 201
    exceeded(await create(http, "api_keys", boss.headers), "api_keys", 2)
    exceeded(await create(http, "api_keys", bearer(first.json()["secret"])), "api_keys", 2)
    again = await create(http, "api_keys", once)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    other = await register(http)
    assert (await create(http, "api_keys", other.headers)).status_code == 201
    path = f"/api-keys/{by_key.json()['id']}"
    assert (await http.delete(path, headers=boss.headers)).status_code < 300
    assert (await create(http, "api_keys", boss.headers)).status_code == 201
    exceeded(await create(http, "api_keys", boss.headers), "api_keys", 2)


async def test_keys_that_florin_creates_count_and_are_not_refused(
    http: httpx.AsyncClient, owner: Any, database: Database
) -> None:
    boss = await register(http)
    merchant = await merchant_of(http, boss)
    await limit(owner, merchant, "api_keys", 0)
    made = await api_keys.create_key(
        database,
        merchant=merchant,
        request=api_keys.KeyRequest(name="demo", scopes=["cards:read"]),
        allowed=SCOPES,
        pepper_hash=partial(api_keys.key_hash, b"pepper"),
    )
    assert made.made_by == "florin"
    await limit(owner, merchant, "api_keys", 1)
    exceeded(await create(http, "api_keys", boss.headers), "api_keys", 1)
    await limit(owner, merchant, "api_keys", 2)
    assert (await create(http, "api_keys", boss.headers)).status_code == 201


async def test_invited_members_count_and_removed_ones_do_not(
    http: httpx.AsyncClient, owner: Any
) -> None:
    boss = await register(http)
    await limit(owner, await merchant_of(http, boss), "members", 2)
    invited = await create(http, "members", boss.headers)
    assert invited.status_code == 201
    exceeded(await create(http, "members", boss.headers), "members", 2)
    other = await register(http)
    assert (await create(http, "members", other.headers)).status_code == 201
    path = f"/members/{invited.json()['id']}"
    assert (await http.delete(path, headers=boss.headers)).status_code == 200
    assert (await create(http, "members", boss.headers)).status_code == 201
    exceeded(await create(http, "members", boss.headers), "members", 2)


@pytest.mark.parametrize(("name", "most"), [("api_keys", 1), ("members", 2)])
async def test_concurrent_requests_do_not_exceed_a_quota(
    http: httpx.AsyncClient, owner: Any, urls: Urls, name: str, most: int
) -> None:
    """One waits right before its commit, the others for it."""
    boss = await register(http)
    await limit(owner, await merchant_of(http, boss), name, most)
    async with owner.transaction():
        await owner.execute("lock table florin.audit in share mode")
        calls = [asyncio.create_task(create(http, name, boss.headers)) for _ in range(3)]
        async with asyncio.timeout(60):
            while await lock_waits(urls.superuser) < len(calls):  # noqa: ASYNC110 -- it happens in PostgreSQL
                await asyncio.sleep(0.05)
    answers = await asyncio.gather(*calls)
    assert Counter(each.status_code for each in answers) == {201: 1, 429: 2}
    for each in answers:
        if each.status_code != 201:
            exceeded(each, name, most)
