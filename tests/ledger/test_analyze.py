"""Grown: what was planned on nearly empty tables is planned anew when a job has filled them."""

from typing import Any

from florin.kit import ids
from tests.ledger.calls import issue, make_merchant, make_program, post
from tests.ledger.model import Op

CARDS = 3_000


async def test_a_code_is_found_among_thousands_of_a_new_shop(
    app: Any, owner: Any, version: str
) -> None:
    assert not await owner.fetchval("select exists (select from florin.account)")
    for table in (
        "account",
        "card",
        "transfer",
        "event",
    ):  # autovacuum would do the same a minute later
        await owner.execute(f"alter table florin.{table} set (autovacuum_enabled = false)")
    merchant = await make_merchant(owner)
    program = await make_program(owner, merchant)

    async def make(number: int) -> list[Any]:
        cards = [ids.new_id() for _ in range(number)]
        await issue(app, merchant, program, cards, [500] * number, activate=[True] * number)
        return cards

    async def read_to_redeem(card: Any) -> int:
        """Entries of indexes read for one redemption by code."""
        before = await read()
        op = Op(kind="redeem", merchant="m", id=ids.new_id(), card=card, amount=1, currency="EUR")
        (row,) = await post(app, {"m": merchant}, [op], by_code=frozenset([card]))
        assert row["outcome"] == "ok", row
        return await read() - before

    async def read() -> int:
        await app.execute("select pg_stat_force_next_flush()")
        return await owner.fetchval(
            "select sum(idx_tup_read)::bigint from pg_stat_user_indexes where schemaname = 'florin'"
        )

    await read_to_redeem((await make(20))[-1])
    last = (await make(CARDS))[-1]
    trapped = await read_to_redeem(last) > CARDS
    assert trapped or version != "18", "else there is nothing to be seen here any more"
    assert await app.fetchval("select analyze_grown()") == 4
    await read_to_redeem(last)  # makes a new plan with the current statistics
    assert await read_to_redeem(last) < 100
    assert await app.fetchval("select analyze_grown()") == 0
