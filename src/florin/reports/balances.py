"""Balances: the balances of all accounts at an instant.

Debits are positive and credits negative, so that all accounts together add up to zero.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.postgres.database import Database, Reader

SETTLE_WITHIN_S = 2.0
_POLL_S = 0.02
_MILLISECOND = timedelta(milliseconds=1)

ACCOUNTS = (
    "card",
    "merchant_clearing",
    "gateway_clearing",
    "merchant_payable",
    "breakage",
    "promotions",
    "adjustments",
    "gateway_fees",
    "bank",
    "refunds_pending",
    "refund_loss",
    "disputes",
    "chargeback_loss",
    "cash_out",
    "commissions",
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
    """A transaction that may date before as_of is still running; repeat the request."""

    code = "as_of_not_settled"
    status = 409
    retry_after_s = 1


class Account(msgspec.Struct, kw_only=True):
    """A kind of account and its balance: debits minus credits, in minor units."""

    account: str
    balance: int


class Balances(msgspec.Struct, kw_only=True):
    """The balances at an instant. The answer for an instant never changes."""

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

    Raises AsOfNotSettled; InvalidRequest for an instant in the future.
    """
    settled = await settled_instant(database, merchant, as_of, param="as_of")
    at, currency = settled.at, currency or settled.currency
    # A separate statement: it sees all commits of the time of waiting, on a replica, too.
    reads.require_position(await database.position())
    rows = await reads.all(_BALANCES, merchant, currency, at)
    by_account = {row["account"]: row["balance"] for row in rows}
    return Balances(
        as_of=at,
        currency=currency,
        liability=-by_account.get("card", 0),
        accounts=[Account(account=name, balance=by_account.get(name, 0)) for name in ACCOUNTS],
    )


@dataclass(frozen=True, slots=True)
class SettledInstant:
    """An instant at or before which nothing can be added any more, and facts of its merchant."""

    at: datetime
    currency: str
    zone: str


async def settled_instant(
    database: Database, merchant: UUID, as_of: datetime | None, *, param: str
) -> SettledInstant:
    """Return `as_of` once it is settled, or the latest settled instant. `param`: its name.

    Raises AsOfNotSettled; InvalidRequest for an instant in the future.
    """
    now_row = await database.one(
        "select clock(id) as here, clock_timestamp() as real, clock_offset, currency, timezone"
        " from florin.merchant where id = $1",
        merchant,
    )
    assert now_row is not None
    if as_of is not None and as_of > now_row["here"]:
        now = now_row["here"].isoformat()
        detail = f"{param} is in the future: {as_of.isoformat()}; the current time is {now}"
        raise InvalidRequest(detail, param=param)
    # The dates of a test merchant's transactions depend on when its clock was moved: for a test
    # merchant the query waits for every transaction that is running now.
    until = now_row["real"]
    if as_of is not None and not now_row["clock_offset"]:
        until = min(until, as_of)
    oldest = await _settled(database, until)
    at = now_row["here"] if as_of is None else as_of
    if oldest is not None:
        if as_of is not None:
            raise AsOfNotSettled
        at = oldest + now_row["clock_offset"] - _MILLISECOND
    return SettledInstant(at, now_row["currency"], now_row["timezone"])


async def _settled(database: Database, until: datetime) -> datetime | None:
    """Wait until no transaction of the ledger runs that began at or before `until`.

    Returns None then, or after SETTLE_WITHIN_S the start of the oldest one that is still running.
    """
    give_up = time.monotonic() + SETTLE_WITHIN_S
    while True:
        row = await database.one("select oldest_money() as began")
        began: datetime | None = row["began"] if row is not None else None
        # The lock's number is the start truncated to milliseconds: equal may still mean earlier.
        if began is None or began > until:
            return None
        if time.monotonic() > give_up:
            return began
        await asyncio.sleep(_POLL_S)
