"""Erasure: what orders know of a buyer and of recipients is erased; paid money still gets cards."""

from typing import Any

import httpx

from tests.orders.selling import buy, choose, place
from tests.support.api_calls import Json, balanced, made, post, read
from tests.support.instance import Shop

ADA = {"name": "Ada Lovelace", "email": "Ada@example.org"}
BOB = {"name": "Bob Stone", "email": "bob@example.org"}


def gift(shop: Shop, **more: Any) -> Json:
    return {"program": shop.program, "amount": 2500, "message": "from ada@example.org", **more}


async def test_a_person_is_erased_from_orders(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    about = {"desk": "7", "for": "ADA@example.org"}
    paid = await buy(http, shop, buyer=ADA, items=[gift(shop)], metadata=about)
    given = await buy(http, shop, buyer=BOB, items=[gift(shop, recipient=ADA)])
    waits = await place(http, shop, buyer=ADA, items=[gift(shop)])
    others = await buy(
        http, shop, buyer=BOB, items=[{**gift(shop, recipient=BOB), "message": "Enjoy"}]
    )

    person = await read(http, "/people/export", email="ADA@example.org")
    assert [(each["id"], each["buyer"], each["messages"]) for each in person["orders"]] == [
        (paid["id"], True, ["from ada@example.org"]),
        (given["id"], False, ["from ada@example.org"]),
        (waits["id"], True, ["from ada@example.org"]),
    ]
    erased = await made(http, "/people/erase", {"email": "ada@example.org"}, status=200)
    assert erased["cards"] == 1
    assert (await read(http, "/people/export", email="ada@example.org"))["orders"] == []
    for table in ("orders", "order_item", "delivery", "event", "card"):
        rows = await owner.fetch(
            f"select t::text from florin.{table} t where merchant = $1",  # noqa: S608 -- ours
            shop.merchant,
        )
        assert rows, table
        assert "ada@" not in str(rows).lower(), table
        assert "Lovelace" not in str(rows), table
    found = await read(http, f"/orders/{paid['id']}")
    assert (found["buyer"], found["metadata"]) == (None, {"desk": "7"})
    assert (await read(http, f"/orders/{given['id']}"))["buyer"]["email"] == "bob@example.org"
    kept = (await read(http, f"/orders/{others['id']}"))["items"][0]
    assert (kept["recipient"]["name"], kept["message"]) == ("Bob Stone", "Enjoy")

    # What is paid afterwards gets its card, which is sent to no one.
    sent = await owner.fetchval("select count(*) from florin.delivery")
    assert (await choose(waits, "paid")).status_code == 303
    order = await read(http, f"/orders/{waits['id']}")
    assert order["state"] == "fulfilled"
    assert await owner.fetchval("select count(*) from florin.delivery") == sent
    refund = await post(http, f"/orders/{paid['id']}/refunds", {})
    assert refund.status_code == 201, refund.text
    await balanced(http)
