"""People: what is stored of a recipient is exported, and erased from everything but the ledger."""

from typing import Any

import httpx

from florin.cards import people
from florin.kit import ids
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


MANY = 5000
_DELIVERIES = """
insert into florin.delivery (merchant, id, cause, kind, channel, card, address, due_at, state)
select $1, gen_random_uuid(), 'other:' || n, 'gift', case n % 2 when 0 then 'sms' else 'email' end,
  gen_random_uuid(), case n % 2 when 0 then '+4930' || n else n || '@home.example' end,
  now(), 'sent'
from generate_series(1, $2::integer) n
"""
_ORDERS = """
insert into florin.orders (merchant, id, number, token_hash, token_sealed, currency, amount,
  buyer_email, gateway, base_url, actor, placed_at)
select $1, gen_random_uuid(), n, sha256(n::text::bytea), '', 'EUR', 1, n || '@home.example', 'test',
  '', 'test', now()
from generate_series(1, $2::integer) n
"""
_ITEMS = """
insert into florin.order_item (merchant, id, orders, position, program, amount, count,
  recipient_email, deliver_phone)
select o.merchant, gen_random_uuid(), o.id, 1, $2, 1, 1,
  case o.number % 3 when 0 then 'to.' || o.buyer_email end,
  case o.number % 3 when 1 then '+4930' || o.number end
from florin.orders o where o.merchant = $1
"""
# Rows that this transaction has read, also within functions.
_READ = """
select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as rows
from pg_stat_xact_user_tables
where schemaname = 'florin' and relname in ('delivery', 'orders', 'order_item')
"""


async def test_one_person_of_many_is_found_without_reading_the_others(
    shop: Shop, owner: Any
) -> None:
    async def rows_read() -> dict[str, int]:
        return {row["relname"]: row["rows"] for row in await owner.fetch(_READ)}

    transaction = owner.transaction()
    await transaction.start()
    try:
        program = ids.parse_id("prg", shop.program)
        await owner.execute(_DELIVERIES, shop.merchant, MANY)
        await owner.execute(_ORDERS, shop.merchant, MANY)
        await owner.execute(_ITEMS, shop.merchant, program)
        await owner.execute("analyze florin.delivery, florin.orders, florin.order_item")
        for email, phone in (("9@home.example", None), (None, "+493010")):
            known = email or phone
            cards, orders = people.CARDS_AND_ORDERS[email is None]
            steps: list[tuple[str, list[object]]] = [
                (cards, [known, 10]),
                (orders, [known, 10]),
                (people.DELIVERIES, [[], known, 10]),
                ("select erase_person($1, $2, $3)", [email, phone]),
            ]
            for sql, arguments in steps:
                before = await rows_read()
                assert len(await owner.fetch(sql, shop.merchant, *arguments)) == (sql != cards)
                after = await rows_read()
                read_ = {table: after[table] - before.get(table, 0) for table in after}
                assert all(rows < 100 for rows in read_.values()), (known, sql, read_)
    finally:
        await transaction.rollback()
