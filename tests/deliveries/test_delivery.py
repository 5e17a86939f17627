"""Delivery: one row for each cause, local times, and the links to the pages of cards."""

import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from florin.deliveries.card_links import CardLinks
from florin.deliveries.delivery import NewDelivery, enqueue_delivery, find_delivery, local_instant
from florin.deliveries.gauges import DeliveryGauges
from florin.kit import ids
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.errors import NotFound
from florin.kit.observability.database_metrics import registry
from florin.kit.postgres.database import Database
from tests.support.instance import Shop, make_shop

SEALER = Sealer("a-seal-key-of-the-tests-and-long-enough")
SECRET = "ABCDEFGHJKMNPQRS482913"


def links(seal: str = "seal", pepper: str = "pepper") -> CardLinks:
    return CardLinks(seal_keys=(seal, "before"), peppers=(pepper, "before"))


def gift(merchant: UUID, card: UUID, **fields: object) -> NewDelivery:
    values: dict[str, object] = {
        "merchant": merchant,
        "cause": f"issue:{card.hex}",
        "kind": "gift",
        "channel": "email",
        "card": card,
        "address": "a@shop.example",
        "secret": "token",
    }
    return NewDelivery(**(values | fields))  # type: ignore[arg-type]


async def test_a_cause_has_one_delivery_and_one_job(database: Database, shop: Shop) -> None:
    card = ids.new_id()
    async with database.transaction() as tx:
        first = await enqueue_delivery(tx, gift(shop.merchant, card), SEALER)
        second = await enqueue_delivery(tx, gift(shop.merchant, card), SEALER)
        jobs = await tx.value(
            "select count(*) from florin.outbox where payload->>'delivery' = $1::text", str(first)
        )
    assert first == second
    assert jobs == 1
    found = await find_delivery(database, shop.merchant, ids.show_id("dlv", first))
    assert (found.state, found.channel, found.attempts) == ("due", "email", 0)
    with pytest.raises(NotFound):
        await find_delivery(database, ids.new_id(), ids.show_id("dlv", first))


async def test_a_delivery_for_later_has_no_job(database: Database, shop: Shop) -> None:
    later = datetime(2099, 1, 1, tzinfo=UTC)
    async with database.transaction() as tx:
        made = await enqueue_delivery(tx, gift(shop.merchant, ids.new_id(), due_at=later), SEALER)
        jobs = await tx.value(
            "select count(*) from florin.outbox where payload->>'delivery' = $1::text", str(made)
        )
    assert jobs == 0
    found = await find_delivery(database, shop.merchant, ids.show_id("dlv", made))
    assert (found.state, found.due_at) == ("waiting", later)


@pytest.mark.parametrize(
    ("local", "zone", "instant"),
    [
        ("2026-12-24T09:00", "Europe/Berlin", "2026-12-24T08:00"),
        ("2026-07-24T09:00", "Europe/Berlin", "2026-07-24T07:00"),
        ("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:00"),  # left out: 03:00 is next
        ("2026-03-29T03:00", "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30"),  # twice: the first
        ("2026-10-25T03:10", "Europe/Berlin", "2026-10-25T02:10"),
        ("2026-11-01T01:30", "America/New_York", "2026-11-01T05:30"),
        ("2026-10-04T02:10", "Australia/Lord_Howe", "2026-10-03T15:30"),  # half an hour left out
        ("2026-04-05T01:45", "Australia/Lord_Howe", "2026-04-04T14:45"),
    ],
)
async def test_local_times_across_changes_of_summer_time(
    database: Database, local: str, zone: str, instant: str
) -> None:
    found = await local_instant(database, datetime.fromisoformat(local), zone)
    assert found == datetime.fromisoformat(instant).replace(tzinfo=UTC)


async def test_a_link_shows_its_code_only_to_its_token(database: Database, shop: Shop) -> None:
    card = ids.new_id()
    async with database.transaction() as tx:
        token = await links().make(tx, shop.merchant, card, SECRET)
        other = await links().make(tx, shop.merchant, card, SECRET)
    opened = await links().open(database, token)
    assert opened is not None
    assert (opened.merchant, opened.card, opened.secret) == (shop.merchant, card, SECRET)
    for wrong in ("", "x" * 22, token[:-1], token + "A", token.swapcase()):
        assert await links().open(database, wrong) is None
    row = await database.one(
        "select * from florin.card_link where card = $1 order by id limit 1", card
    )
    assert row is not None
    stored = bytes(row["token_hash"]) + bytes(row["sealed_code"])
    assert token.encode() not in stored
    assert SECRET.encode() not in stored
    # Without its token neither the row nor the keys lead to the code.
    assert other != token
    assert await links(pepper="another").open(database, token) is None


async def test_links_are_read_after_a_rotation_of_the_keys(database: Database, shop: Shop) -> None:
    card = ids.new_id()
    old = CardLinks(seal_keys=("before",), peppers=("before",))
    async with database.transaction() as tx:
        token = await old.make(tx, shop.merchant, card, SECRET)
    opened = await links().open(database, token)
    assert opened is not None
    assert opened.secret == SECRET
    gone = await CardLinks(seal_keys=("new",), peppers=("before",)).open(database, token)
    assert gone is not None
    assert gone.secret is None


async def test_revoked_links_are_unknown_and_their_codes_erased(
    database: Database, shop: Shop
) -> None:
    card, kept = ids.new_id(), ids.new_id()
    async with database.transaction() as tx:
        tokens = [await links().make(tx, shop.merchant, card, SECRET) for _ in range(2)]
        stays = await links().make(tx, shop.merchant, kept, SECRET)
        assert await CardLinks.revoke_all(tx, shop.merchant, card) == 2
        assert await CardLinks.revoke_all(tx, shop.merchant, card) == 0
    for token in tokens:
        assert await links().open(database, token) is None
    assert await links().open(database, stays) is not None
    codes = await database.one(
        "select count(sealed_code) as n from florin.card_link where card = $1", card
    )
    assert codes is not None
    assert codes["n"] == 0


async def test_the_row_and_the_keys_alone_do_not_open_a_link(
    database: Database, shop: Shop
) -> None:
    card = ids.new_id()
    async with database.transaction() as tx:
        await links().make(tx, shop.merchant, card, SECRET)
        other = await links().make(tx, shop.merchant, card, "OTHER")
        # The copy of one link under the row of another: its own token does not open it.
        await tx.run(
            "update florin.card_link l set sealed_code = (select o.sealed_code"
            " from florin.card_link o where o.card = $1 order by o.id limit 1)"
            " where l.card = $1",
            card,
        )
    opened = await links().open(database, other)
    assert opened is not None
    assert opened.secret is None
    row = await database.one("select * from florin.card_link where card = $1 limit 1", card)
    assert row is not None
    binding = b"card link" + row["merchant"].bytes + row["id"].bytes + row["card"].bytes
    for key in ("seal", hmac.digest(b"seal", b"card link", "sha256").hex()):
        with pytest.raises(UnsealFailed):
            Sealer(key).unseal(row["sealed_code"], bound_to=binding)


async def test_the_gauges_show_what_is_due_and_for_how_long(
    database: Database, owner: Any, shop: Shop
) -> None:
    async def shown() -> tuple[float, float]:
        await DeliveryGauges(database).refresh()
        names = ("florin_deliveries_due", "florin_deliveries_oldest_seconds")
        due, oldest = (registry.get_sample_value(name) for name in names)
        assert due is not None
        assert oldest is not None
        return due, oldest / 86_400

    async def owe(merchant: UUID, days: int, state: str) -> None:
        async with database.transaction() as tx:
            made = await enqueue_delivery(tx, gift(merchant, ids.new_id()), SEALER)
        since = datetime.now(UTC) - timedelta(days=days)
        await owner.execute(
            "update florin.delivery set due_at = $2, state = $3 where id = $1", made, since, state
        )

    before, _ = await shown()
    await owe(shop.merchant, 1000, "sending")
    await owe(shop.merchant, 2000, "sent")
    await owe((await make_shop(owner, database, test=True)).merchant, 3000, "due")
    due, oldest = await shown()
    assert due == before + 1
    assert oldest == pytest.approx(1000, abs=0.1)
    await owner.execute("delete from florin.delivery where merchant = $1", shop.merchant)
