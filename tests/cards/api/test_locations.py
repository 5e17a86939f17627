"""A key that is bound to a location redeems and holds there only, and says so on each."""

import httpx

from tests.support.api_calls import issue, key, problem
from tests.support.instance import Instance, Shop
from tests.support.members import bearer, client_of


async def test_a_key_spends_at_its_location(
    api: Instance, http: httpx.AsyncClient, shop: Shop
) -> None:
    made = await http.post(
        "/api-keys",
        json={
            "name": "till 1",
            "scopes": ["redemptions:write", "redemptions:read", "cards:read"],
            "location": "Till 1",
        },
    )
    assert made.json()["location"] == "Till 1"
    listed = (await http.get("/api-keys")).json()["data"]
    assert [each["location"] for each in listed] == ["Till 1", None]
    card = await issue(http, shop, 1000)
    async with client_of(api, **bearer(made.json()["secret"])) as till:
        assert (await till.get("/auth/me")).json()["location"] == "Till 1"
        for path in ("/redemptions", "/holds"):
            for given in ({}, {"location": "Till 1"}):
                body = {"card": card["id"], "amount": 1, "currency": "EUR", **given}
                answer = await till.post(path, json=body, headers=key())
                assert answer.json()["location"] == "Till 1", answer.text
            body = {"card": card["id"], "amount": 1, "currency": "EUR", "location": "Till 2"}
            problem(await till.post(path, json=body, headers=key()), 403, "forbidden")
        item = {"card": card["id"], "amount": 1, "currency": "EUR"}
        batch = await till.post(
            "/redemptions/batch",
            json={
                "redemptions": [
                    {**item, "idempotency_key": "a"},
                    {**item, "idempotency_key": "b", "location": "Till 2"},
                ]
            },
        )
        one, two = batch.json()["data"]
        assert one["redemption"]["location"] == "Till 1"
        assert (two["status"], two["problem"]["code"]) == (403, "forbidden")
    answer = await http.post(
        "/redemptions",
        json={"card": card["id"], "amount": 1, "currency": "EUR", "location": "Till 2"},
        headers=key(),
    )
    assert answer.json()["location"] == "Till 2"  # a key without one says where
