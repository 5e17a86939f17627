"""First plans: what a session plans while the tables are empty stays good while they fill.

It keeps those plans until a table is analysed. A foreign key's check that goes by the order of a
list reads all cards of the merchant, and counts as one row read: so the index is looked at.
"""

from typing import Any

from florin.kit import ids
from tests.ledger.calls import issue, make_merchant, make_program, post
from tests.ledger.model import Op

_ORDERS = """
select indexrelname as index, idx_scan as scans from pg_stat_user_indexes
where schemaname = 'florin' and relname = 'account' and indexrelname like 'account_by_%'
  and idx_scan > 0
"""


async def test_a_card_is_found_by_its_key_from_the_first_on(app: Any, owner: Any) -> None:
    assert not await owner.fetchval("select exists (select from florin.account)")
    merchant = await make_merchant(owner)
    program = await make_program(owner, merchant)

    async def money(kind: str, of: list[Any], **more: Any) -> list[Any]:
        made = [ids.new() for _ in of]
        name = "card" if kind in {"redeem", "hold"} else "other"
        ops = [
            Op(kind=kind, merchant="m", id=id_, **{name: each}, **more)
            for id_, each in zip(made, of, strict=True)
        ]
        for row in await post(app, {"m": merchant}, ops):
            assert row["outcome"] == "ok", row
        return made

    for number in (50, 400):
        cards = [ids.new() for _ in range(number)]
        await issue(app, merchant, program, cards, [500] * number, activate=[True] * number)
        spent = await money("redeem", cards, amount=100, currency="EUR")
        await money("refund", spent, amount=50)
        held = await money("hold", cards, amount=100, currency="EUR", expires_in=600)
        await money("capture", held, amount=60)
    await app.execute("select pg_stat_force_next_flush()")
    found = [dict(row) for row in await owner.fetch(_ORDERS)]
    assert not found, found
