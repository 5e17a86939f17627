"""People: what is stored of a recipient is exported, and erased from everything but the ledger."""

from typing import Any

import httpx

from tests.support.api_calls import issue, made, problem, read, redeem
from tests.support.instance import Shop

ADA = {"name": "Ada Lovelace", "email": "Ada@example.org"}


async def test_a_person_is_exported_and_erased(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    about = {"order": "1", "buyer": "for ada@EXAMPLE.org"}
    first = await issue(http, shop, 500, recipient=ADA, metadata=about)
    second = await issue(http, shop, 300, recipient={"email": "ada@example.org"})
    other = await issue(http, shop, 100, recipient={"name": "Ada Lovelace", "email": "b@b.org"})
    deliver = {"channel": "email", "at": "2099-01-01T09:00"}
    third = await issue(http, shop, 1, recipient=ADA, deliver=deliver)
    await issue(http, shop, 1, recipient={"email": "b@b.org"}, deliver=deliver)
    await redeem(http, first, 20)
    await made(http, "/transfers", {"from": first["id"], "to": other["id"], "amount": 10})
    person = await read(http, "/people/export", email="ADA@example.org")
    assert [each["id"] for each in person["cards"]] == [first["id"], second["id"], third["id"]]
    assert person["cards"][0]["metadata"] == about
    assert person["complete"] is True
    assert person["suppressed"] is None
    [sent] = person["deliveries"]
    assert (sent["card"], sent["address"]) == (third["id"], "ada@example.org")
    assert [(each["card"], each["amount"]) for each in person["entries"]] == [
        (first["id"], 500), (second["id"], 300), (third["id"], 1), (first["id"], -20),
        (first["id"], -10),
    ]  # fmt: skip

    erased = await http.post("/people/erase", json={"email": "ada@example.org"})
    assert (erased.status_code, erased.json()) == (200, {"object": "erasure", "cards": 3})
    empty = await read(http, "/people/export", email="ada@example.org")
    assert (empty["cards"], empty["deliveries"]) == ([], [])
    kept = await read(http, f"/cards/{first['id']}")
    assert (kept["recipient"], kept["metadata"], kept["balance"]) == (None, {"order": "1"}, 470)
    assert (await read(http, "/cards", **{"metadata[buyer]": about["buyer"]}))["data"] == []
    assert (await read(http, f"/cards/{other['id']}"))["recipient"]["name"] == "Ada Lovelace"
    again = await http.post("/people/erase", json={"email": "ada@example.org"})
    assert again.json()["cards"] == 0
    records = (await read(http, "/audit", action="person.erased"))["data"]
    assert [each["after"] for each in records] == [{"cards": 0}, {"cards": 3}]
    assert (await read(http, "/ledger/proof"))["balanced"]
    for table in ("card", "card_metadata", "event", "audit", "transfer", "idempotency", "delivery"):
        rows = await owner.fetch(
            f"select t::text from florin.{table} t where merchant = $1",  # noqa: S608 -- ours
            shop.merchant,
        )
        assert "ada@example" not in str(rows).lower(), table


async def test_wrong_addresses_are_refused(http: httpx.AsyncClient) -> None:
    problem(await http.get("/people/export"), 422, "invalid_request")
    answer = await http.post("/people/erase", json={"email": "nothing"})
    problem(answer, 422, "invalid_request", param="email")
