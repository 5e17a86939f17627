"""Endpoints: create, change, rotate and delete them, and what is refused."""

from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from florin.kit.postgres.database import Database
from florin.ledger import quotas
from tests.support.api_calls import exceeded, made, post, problem, read
from tests.support.instance import Instance, Shop, make_shop
from tests.support.members import client_of

URL = "https://hooks.example.com/florin"


async def create(http: httpx.AsyncClient, **more: Any) -> Any:
    return await made(http, "/webhook-endpoints", {"url": URL, "events": ["*"], **more})


async def test_an_endpoint_is_created_changed_and_deleted(http: httpx.AsyncClient) -> None:
    first = await create(http, events=["card.*", "job.finished"], description="Till")
    assert first["object"] == "webhook_endpoint"
    assert first["state"] == "enabled"
    Webhook(first["secret"])  # of the form that the standard's library accepts
    second = await create(http)
    path = f"/webhook-endpoints/{first['id']}"
    found = await read(http, path)
    assert found == {key: value for key, value in first.items() if key != "secret"}
    page = await read(http, "/webhook-endpoints", limit=1)
    assert [each["id"] for each in page["data"]] == [second["id"]]
    assert page["has_more"] is True
    page = await read(http, "/webhook-endpoints", starting_after=second["id"])
    assert [each["id"] for each in page["data"]] == [first["id"]]
    answer = await http.patch(path, json={"state": "disabled", "url": f"{URL}/2"})
    assert answer.json()["disabled_reason"] == "by its merchant"
    assert answer.json()["url"] == f"{URL}/2"
    problem(
        await http.post(f"{path}/replay", json={"since": "2026-01-01T00:00:00Z"}),
        409,
        "endpoint_disabled",
    )
    answer = await http.patch(path, json={"state": "enabled", "description": None})
    assert (answer.json()["state"], answer.json()["description"]) == ("enabled", None)
    assert (await http.delete(path)).status_code == 200
    problem(await http.get(path), 404, "not_found")
    problem(await http.patch(path, json={"state": "enabled"}), 404, "not_found")


async def test_the_secret_is_shown_once_and_rotated(http: httpx.AsyncClient, owner: Any) -> None:
    body = {"url": URL, "events": ["*"]}
    first = await post(http, "/webhook-endpoints", body, under="once")
    again = await post(http, "/webhook-endpoints", body, under="once")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    endpoint = first.json()
    answer = await http.post(f"/webhook-endpoints/{endpoint['id']}/rotate-secret")
    rotated = answer.json()
    assert rotated["secret"] != endpoint["secret"]
    assert rotated["previous_secret_until"] is not None
    stored = await owner.fetch("select * from florin.webhook_endpoint")
    assert not any(
        secret.removeprefix("whsec_") in str(dict(row))
        for row in stored
        for secret in (rotated["secret"], endpoint["secret"])
    )
    records = await read(http, "/audit", subject=endpoint["id"])
    actions = [each["action"] for each in records["data"]]
    assert actions == ["webhook_endpoint.secret_rotated", "webhook_endpoint.created"]
    assert "whsec" not in str(records)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://2130706433/",
        "https://user:pass@hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://[::ffff:10.0.0.1]/",
        "https://metadata.google.internal/",
        "https://redis:6379/",
        "/hook",
    ],
)
async def test_internal_urls_are_refused(http: httpx.AsyncClient, url: str) -> None:
    refused = await http.post("/webhook-endpoints", json={"url": url, "events": ["*"]})
    problem(refused, 422, "url_not_allowed", param="url")
    endpoint = await create(http)
    changed = await http.patch(f"/webhook-endpoints/{endpoint['id']}", json={"url": url})
    problem(changed, 422, "url_not_allowed", param="url")


@pytest.mark.parametrize("events", [[], ["card"], ["*.*"], ["card.Redeemed"], ["*"] * 51])
async def test_invalid_event_names_are_refused(http: httpx.AsyncClient, events: Any) -> None:
    refused = await http.post("/webhook-endpoints", json={"url": URL, "events": events})
    assert problem(refused, 422, "invalid_request")["param"].startswith("events")


async def test_the_quota_counts_endpoints_that_are_not_deleted(
    http: httpx.AsyncClient, owner: Any, shop: Shop
) -> None:
    await quotas.set_limit(owner, shop.merchant, "webhook_endpoints", 1, actor="operator:tests")
    endpoint = await create(http)
    body = {"url": URL, "events": ["*"]}
    exceeded(await http.post("/webhook-endpoints", json=body), "webhook_endpoints", 1)
    await http.delete(f"/webhook-endpoints/{endpoint['id']}")
    await create(http)


async def test_endpoints_belong_to_their_merchant(
    http: httpx.AsyncClient, api: Instance, owner: Any, database: Database
) -> None:
    endpoint = await create(http)
    other = await make_shop(owner, database)
    async with client_of(api, **other.headers) as strangers:
        path = f"/webhook-endpoints/{endpoint['id']}"
        problem(await strangers.get(path), 404, "not_found")
        problem(await strangers.get(f"{path}/deliveries"), 404, "not_found")
        problem(await strangers.post(f"{path}/rotate-secret"), 404, "not_found")
        assert (await read(strangers, "/webhook-endpoints"))["data"] == []
