"""Lock-out: a door that closes for a while after failures, and longer after more.

A failed attempt counts against what guesses have in common: an account from a network, an account,
a network. Whoever signed in from a network before is judged by that pair alone, so that strangers'
failures never close a door to the one who belongs behind it. Nothing counts while a door is closed,
so the longest wait is LONGEST_S, whatever is tried.

Counted in PostgreSQL, which all instances share: a wrong password costs far more than the row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from florin.kit.encryption import keyed_hash
from florin.kit.errors import RateLimited
from florin.kit.postgres.database import Database, Tx

FIRST_S = 30  # how long a door closes at first; doubled by each further failure
LONGEST_S = 900
FORGOTTEN_AFTER_S = 86_400  # without a failure

PAIR_MOST = 5
ACCOUNT_MOST = 50
NETWORK_MOST = 100
LETTERS_MOST = 5
PROOF_MOST = 5  # second factors, and passwords of whoever is signed in

_CLOSES = f"""
a.last_at + interval '1 s'
  * least({FIRST_S} * power(2, least(a.failures - a.most, 10)), {LONGEST_S})
"""
_CLOSED = f"a.failures >= a.most and {_CLOSES} > clock_timestamp()"
_OPENS = f"""
select extract(epoch from max({_CLOSES}) - clock_timestamp())::float8 as wait
from florin.failed_attempt a where a.subject = any($1) and {_CLOSED}
"""  # noqa: S608 -- our own text
# Decides and counts in one statement: of attempts at once only as many are told that they were
# wrong as the door allows; the others learn only that it is closed.
_FAILED = f"""
insert into florin.failed_attempt as a (subject, most, failures, last_at)
select d.subject, d.most, 1, clock_timestamp()
from unnest($1::bytea[], $2::integer[]) as d (subject, most) order by d.subject
on conflict (subject) do update set
  most = excluded.most,
  failures = case when a.last_at < clock_timestamp() - interval '{FORGOTTEN_AFTER_S} s'
    then 1 else a.failures + 1 end,
  last_at = clock_timestamp()
where not ({_CLOSED})
returning subject
"""  # noqa: S608 -- our own text


@dataclass(frozen=True, slots=True)
class LockoutKey:
    """What attempts have in common, and how many may fail before it closes."""

    subject: bytes
    most: int


def sign_in_locks(pepper: bytes, *, email: str, network: str, known: bool) -> list[LockoutKey]:
    """The doors between this network and this account."""
    pair = LockoutKey(_subject(pepper, "pair", email, network), PAIR_MOST)
    if known:
        return [pair]
    return [
        pair,
        LockoutKey(_subject(pepper, "account", email), ACCOUNT_MOST),
        LockoutKey(_subject(pepper, "network", network), NETWORK_MOST),
    ]


def email_locks(pepper: bytes, *, email: str, network: str) -> list[LockoutKey]:
    """How many letters may be asked for; every request counts."""
    return [
        LockoutKey(_subject(pepper, "letters to", email), LETTERS_MOST),
        LockoutKey(_subject(pepper, "letters from", network), NETWORK_MOST),
    ]


def proof_locks(pepper: bytes, what: Literal["password", "code"], member: str) -> list[LockoutKey]:
    """The door before what a member proves once his session, or his password, is known. One each:
    a right password must not open the door to guessing codes.
    """
    return [LockoutKey(_subject(pepper, what, member), PROOF_MOST)]


async def require_unlocked(database: Database | Tx, at: Sequence[LockoutKey]) -> None:
    """Raises RateLimited where a door is closed."""
    row = await database.one(_OPENS, [lock.subject for lock in at])
    if row is not None and row["wait"] is not None:
        raise _closed(row["wait"])


async def record_failure(tx: Tx, at: Sequence[LockoutKey]) -> bool:
    """Count a failure; whether the doors were open, so that it may be told.

    Where one was closed meanwhile, nothing may be said about what was tried.
    """
    counted = await tx.all(_FAILED, [lock.subject for lock in at], [lock.most for lock in at])
    return len(counted) == len(at)


async def record_success(tx: Tx, at: Sequence[LockoutKey]) -> None:
    """Forget the failures at the first door: those were typing mistakes."""
    await tx.run("delete from florin.failed_attempt where subject = $1", at[0].subject)


def lockout_refusal() -> RateLimited:
    """What is answered when a door closed while an attempt was being checked."""
    return _closed(FIRST_S)


def _closed(wait_s: float) -> RateLimited:
    return RateLimited(
        "there were too many failed attempts", retry_after_s=max(1, math.ceil(wait_s))
    )


def _subject(pepper: bytes, *parts: str) -> bytes:
    return keyed_hash(pepper, "\0".join(parts).encode())
