"""Acknowledged writes: whether the ledger holds each acknowledged write once, and no other."""

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
    """A redemption in the ledger: its public id, amount and idempotency key."""

    id: str
    amount: int
    key: str | None


class AcknowledgedCheck(msgspec.Struct, frozen=True, kw_only=True):
    acknowledged: int
    lost: int  # acknowledged, and not in the ledger with the same amount
    doubled: int  # in the ledger in addition to the acknowledged one, or although refused
    unknown: int  # no answer arrived: the outcome is unknown


async def read_recorded(url: str, target: LoadTarget) -> list[RecordedRedemption]:
    """Read all redemptions of the target's cards from the server at `url`."""
    cards = [ids.parse_id("crd", card.id) for card in target.cards]
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
    log: Sequence[LoggedRequest], recorded: Iterable[RecordedRedemption]
) -> AcknowledgedCheck:
    """Compare the client's log with the recorded redemptions. Pure.

    A redemption of unknown outcome may be recorded once or not at all.
    """
    redemptions = [request for request in log if request.kind == "redeem"]
    acknowledged = [request for request in redemptions if not request.failed]
    amounts = {request.made: request.amount for request in acknowledged}
    unknown = {request.key for request in redemptions if request.unknown}
    open_, whole, doubled = set(unknown), set[str](), 0
    for each in recorded:
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
