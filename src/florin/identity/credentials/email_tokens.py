"""Email tokens: sent by e-mail to accept an invitation, reset a password or verify an address.

A token is stored as a keyed hash, and is valid once and for a limited time. An encrypted copy waits
for the delivery and is erased then, or when the token is used. A job of the same transaction makes
the delivery (see deliveries/account_mails.py).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from florin.kit import ids
from florin.kit.encryption import Sealer, keyed_hash
from florin.kit.errors import Refusal
from florin.kit.observability.context import current_work
from florin.kit.postgres.database import Database, Row, Tx

Kind = Literal["invitation", "password_reset", "email_verification"]

LIVES: dict[Kind, timedelta] = {
    "invitation": timedelta(days=7),
    "password_reset": timedelta(hours=1),
    "email_verification": timedelta(days=2),
}
_PREFIX = "flt_"
_BYTES = 32

_UNUSED = "used_at is null"
_GOOD = f"hash = any($1) and kind = $2 and {_UNUSED} and expires_at > clock_timestamp()"
_FIND = f"select merchant, member, id from florin.email_token where {_GOOD}"  # noqa: S608 -- our own text
# One statement for the token and its job: for an unknown member neither is written.
_WRITE = """
with written as (
  insert into florin.email_token (merchant, id, member, kind, hash, sealed, expires_at)
  select m.merchant, $2, m.id, $4, $5, $6, clock_timestamp() + $7::interval
  from florin.member m where m.merchant = $1 and m.id = $3
  returning merchant, id
)
insert into florin.outbox (queue, kind, payload, version, priority, trace, merchant)
select 'email-delivery', 'account', jsonb_build_object('merchant', w.merchant, 'token', w.id), 1, 0,
  $8, w.merchant
from written w
"""
# Locked in order: concurrent uses of two tokens of one member cannot deadlock.
_TAKE = f"""
update florin.email_token l set used_at = clock_timestamp(), sealed = null
from (
  select merchant, id from florin.email_token where {_UNUSED}
    and (merchant, member, kind) in (
      select merchant, member, kind from florin.email_token where {_GOOD})
  order by id for update
) as open
where l.merchant = open.merchant and l.id = open.id
returning l.merchant, l.member, l.id, l.hash
"""  # noqa: S608 -- our own text


class EmailTokenInvalid(Refusal):
    """This token is invalid, was used or has expired: request another one."""

    code = "token_invalid"
    status = 422


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailTokens:
    """Creates, finds and uses e-mail tokens. `peppers`: the current one first."""

    sealer: Sealer
    peppers: Sequence[bytes]

    async def write(self, tx: Tx, merchant: UUID, member: UUID, kind: Kind) -> UUID:
        """Create a token. Earlier ones stay valid until one of their kind is used: anyone who knows
        an address can request one, and must not invalidate those of its owner. For an unknown
        member no row is written, in the same time.
        """
        token_id, token = ids.new_id(), _PREFIX + secrets.token_urlsafe(_BYTES)
        await tx.run(
            _WRITE,
            merchant,
            token_id,
            member,
            kind,
            _hash(self.peppers[0], token),
            self.sealer.seal(token, bound_to=token_binding(merchant, token_id)),
            LIVES[kind],
            current_work().to_text(),
        )
        return token_id

    async def find(self, database: Database, kind: Kind, token: str) -> Row:
        """The merchant, member and id of a valid token. Raises EmailTokenInvalid."""
        row = await database.one(_FIND, [_hash(pepper, token) for pepper in self.peppers], kind)
        if row is None:
            raise EmailTokenInvalid(param="token")
        return row

    async def take(self, tx: Tx, kind: Kind, token: str) -> Row:
        """Use a token, which invalidates the member's other tokens of the same kind. Returns its
        merchant and member. Raises EmailTokenInvalid.
        """
        hashes = [_hash(pepper, token) for pepper in self.peppers]
        used = await tx.all(_TAKE, hashes, kind)
        row = next((each for each in used if each["hash"] in hashes), None)
        if row is None:
            raise EmailTokenInvalid(param="token")
        return row

    def token_of(self, row: Row) -> str:
        """The token to deliver. Raises UnsealFailed."""
        return self.sealer.unseal(row["sealed"], bound_to=token_binding(row["merchant"], row["id"]))


def token_binding(merchant: UUID, token_id: UUID) -> bytes:
    return b"letter" + merchant.bytes + token_id.bytes


def _hash(pepper: bytes, token: str) -> bytes:
    return keyed_hash(pepper, b"letter\0" + token.encode())
