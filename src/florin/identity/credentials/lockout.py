"""Lockout: failed attempts lock a subject for a while; further failures lock it for longer.

A failed attempt counts against three subjects: the pair of account and network, the account, and
the network. A member who signed in from a network before is checked against the pair only, so that
failures from other networks never lock the member out. Attempts while a lock is closed are not
counted, so the longest wait is LONGEST_S.

Counted in PostgreSQL, which all instances share: checking a password costs far more than the row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from florin.kit.encryption import keyed_hash
from florin.kit.errors import RateLimited
from florin.kit.postgres.database import Database, Tx

FIRST_S = 30  # the first wait; each further failure doubles it
LONGEST_S = 900
FORGOTTEN_AFTER_S = 86_400  # without a failure

PAIR_MOST = 5
ACCOUNT_MOST = 50
NETWORK_MOST = 100
LETTERS_MOST = 5
PROOF_MOST = 5  # second factors, and passwords of signed-in members

_CLOSES = f"""
a.last_at + interval '1 s'
  * least({FIRST_S} * power(2, least(a.failures - a.most, 10)), {LONGEST_S})
"""
_CLOSED = f"a.failures >= a.most and {_CLOSES} > clock_timestamp()"
_OPENS = f"""
select extract(epoch from max({_CLOSES}) - clock_timestamp())::float8 as wait
from florin.failed_attempt a where a.subject = any($1) and {_CLOSED}
"""  # noqa: S608 -- our own text
# Decides and counts in one statement: of concurrent attempts only as many as the limit allows are
# reported as wrong; the others learn only that the lock is closed.
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
    """A subject of failed attempts, and the number of failures that closes its lock."""

    subject: bytes
    most: int


def sign_in_locks(pepper: bytes, *, email: str, network: str, known: bool) -> list[LockoutKey]:
    """The locks that a sign-in to this account from this network must pass."""
    pair = LockoutKey(_subject(pepper, "pair", email, network), PAIR_MOST)
    if known:
        return [pair]
    return [
        pair,
        LockoutKey(_subject(pepper, "account", email), ACCOUNT_MOST),
        LockoutKey(_subject(pepper, "network", network), NETWORK_MOST),
    ]


def email_locks(pepper: bytes, *, email: str, network: str) -> list[LockoutKey]:
    """The locks on requests for e-mail tokens; every request counts as a failure."""
    return [
        LockoutKey(_subject(pepper, "letters to", email), LETTERS_MOST),
        LockoutKey(_subject(pepper, "letters from", network), NETWORK_MOST),
    ]


def proof_locks(pepper: bytes, kind: Literal["password", "code"], member: str) -> list[LockoutKey]:
    """The lock on a proof by a member whose session or password is known. Each kind of proof has
    its own: a right password must not reset the failures of guessed codes.
    """
    return [LockoutKey(_subject(pepper, kind, member), PROOF_MOST)]


async def require_unlocked(database: Database | Tx, at: Sequence[LockoutKey]) -> None:
    """Raises RateLimited if a lock is closed."""
    row = await database.one(_OPENS, [lock.subject for lock in at])
    if row is not None and row["wait"] is not None:
        raise _closed(row["wait"])


async def record_failure(tx: Tx, at: Sequence[LockoutKey]) -> bool:
    """Count a failure. Returns whether all locks were open, so that it may be reported.

    If one was closed in the meantime, the response must not reveal whether the attempt was right.
    """
    counted = await tx.all(_FAILED, [lock.subject for lock in at], [lock.most for lock in at])
    return len(counted) == len(at)


async def record_success(tx: Tx, at: Sequence[LockoutKey]) -> None:
    """Delete the failures of the first lock: they were typing mistakes."""
    await tx.run("delete from florin.failed_attempt where subject = $1", at[0].subject)


def lockout_refusal() -> RateLimited:
    """The refusal if a lock closed while the attempt was being checked."""
    return _closed(FIRST_S)


def _closed(wait_s: float) -> RateLimited:
    return RateLimited("Too many failed attempts", retry_after_s=max(1, math.ceil(wait_s)))


def _subject(pepper: bytes, *parts: str) -> bytes:
    return keyed_hash(pepper, "\0".join(parts).encode())
