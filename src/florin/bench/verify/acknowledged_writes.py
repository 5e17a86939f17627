"""Acknowledged writes: whether what was acknowledged is in the books, once, and nothing else is."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from florin.bench.load.constant_rate import LoadTarget, LoggedRequest
from florin.kit import ids
from florin.kit.postgres.database import open_connection

_REDEEMED = "select id, amount from florin.transfer where kind = 'redeem' and debit_card = any($1)"
# Joined in Python: no index leads from the resource to its key.
_KEYS = "select resource_id, key from florin.idempotency"


class RecordedRedemption(msgspec.Struct, frozen=True):
    """A redemption in the books, by its public id, and the key under which it was made."""

    id: str
    amount: int
    key: str | None


class AcknowledgedCheck(msgspec.Struct, frozen=True, kw_only=True):
    acknowledged: int
    lost: int  # acknowledged, and not in the books as it was
    doubled: int  # in the books beside what was acknowledged, or was refused
    unknown: int  # nobody was told what became of them


async def read_recorded(url: str, shop: LoadTarget) -> list[RecordedRedemption]:
    """Read all redemptions of the shop's cards at the server of that URL."""
    cards = [ids.parse_id("crd", card.id) for card in shop.cards]
    connection: Any = await open_connection(url, name="florin bench")
    try:
        rows = await connection.fetch(_REDEEMED, cards)
        keys = {row["resource_id"]: row["key"] for row in await connection.fetch(_KEYS)}
    finally:
        connection.terminate()
    return [
        RecordedRedemption(ids.show_id("red", row["id"]), row["amount"], keys.get(row["id"]))
        for row in rows
    ]


def check_acknowledged(
    log: Sequence[LoggedRequest], books: Iterable[RecordedRedemption]
) -> AcknowledgedCheck:
    """Compare the client's log with the books. Pure.

    One whose outcome nobody was told may be there or not, once.
    """
    redeems = [asked for asked in log if asked.kind == "redeem"]
    acknowledged = [asked for asked in redeems if not asked.failed]
    amounts = {asked.made: asked.amount for asked in acknowledged}
    unknown = {asked.key for asked in redeems if asked.unknown}
    open_, whole, doubled = set(unknown), set[str](), 0
    for each in books:
        if each.id in amounts:
            whole |= {each.id} if each.amount == amounts[each.id] else set()
        elif each.key in open_:
            open_.discard(each.key)
        else:
            doubled += 1
    return AcknowledgedCheck(
        acknowledged=len(acknowledged),
        lost=len(acknowledged) - len(whole),
        doubled=doubled,
        unknown=len(unknown),
    )
