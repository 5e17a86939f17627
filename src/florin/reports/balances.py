"""Balances: balances at an instant, and the proof that they are right.

Debits are positive and credits negative, so that all accounts together sum to nothing.
"""

import asyncio
import time
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.postgres.database import Database, Reader

SETTLE_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.02
_MILLISECOND = timedelta(milliseconds=1)

ACCOUNTS = (
    "card",
    "merchant_clearing",
    "gateway_clearing",
    "merchant_payable",
    "breakage",
    "promotions",
    "adjustments",
)


_BALANCES = """
select account::text, sum(change)::bigint as balance from (
  select t.debit as account, t.amount as change from florin.transfer t
  where t.merchant = $1 and t.currency = $2 and t.created_at <= $3
  union all
  select t.credit, -t.amount from florin.transfer t
  where t.merchant = $1 and t.currency = $2 and t.created_at <= $3
) sides group by account
"""


class AsOfNotSettled(Refusal):
    """Money that may belong before this instant is still moving; ask again."""

    code = "as_of_not_settled"
    status = 409
    retry_after_s = 1


class Account(msgspec.Struct, kw_only=True):
    """A kind of account and its balance: debits less credits, in minor units."""

    account: str
    balance: int


class Balances(msgspec.Struct, kw_only=True):
    """The balances at an instant. An answer for an instant never changes."""

    object: Literal["balances"] = "balances"
    as_of: datetime
    currency: str
    liability: int
    accounts: list[Account]


async def read_balances(
    database: Database,
    reads: Reader,
    merchant: UUID,
    *,
    as_of: datetime | None,
    currency: str | None,
) -> Balances:
    """Read the balances at `as_of`, or at the latest settled instant.

    Raises AsOfNotSettled; InvalidRequest for an instant that has not come.
    """
    now_row = await database.one(
        "select florin.clock(id) as here, clock_timestamp() as real, clock_offset, currency"
        " from florin.merchant where id = $1",
        merchant,
    )
    assert now_row is not None
    if as_of is not None and as_of > now_row["here"]:
        now = now_row["here"].isoformat()
        detail = f"as_of is in the future: {as_of.isoformat()}; it is {now}"
        raise InvalidRequest(detail, param="as_of")
    # What a test merchant's transactions are dated depends on when its clock was moved: for it
    # everything that runs now is waited for.
    until = now_row["real"]
    if as_of is not None and not now_row["clock_offset"]:
        until = min(until, as_of)
    oldest = await _settled(database, until)
    at = now_row["here"] if as_of is None else as_of
    if oldest is not None:
        if as_of is not None:
            raise AsOfNotSettled
        at = oldest + now_row["clock_offset"] - _MILLISECOND
    # A statement of its own: it sees all that was committed while we waited, on a replica, too.
    reads.require_position(await database.position())
    rows = await reads.all(_BALANCES, merchant, currency or now_row["currency"], at)
    found = {row["account"]: row["balance"] for row in rows}
    return Balances(
        as_of=at,
        currency=currency or now_row["currency"],
        liability=-found.get("card", 0),
        accounts=[Account(account=name, balance=found.get(name, 0)) for name in ACCOUNTS],
    )


async def _settled(database: Database, until: datetime) -> datetime | None:
    """Wait until no money transaction runs that began at or before `until`.

    Returns None then, else the start of the oldest that still runs when the time is up.
    """
    give_up = time.monotonic() + SETTLE_WITHIN_S
    while True:
        row = await database.one("select florin.oldest_money() as began")
        began: datetime | None = row["began"] if row is not None else None
        # The lock's number is a millisecond, cut off: what began in the same one may be earlier.
        if began is None or began > until:
            return None
        if time.monotonic() > give_up:
            return began
        await asyncio.sleep(_LOOK_EVERY_S)
