"""Email tokens: a token that is sent to a member's address once: to accept an invitation, to set
another
password, to prove the address.

Found by its keyed hash, good once and for a while. The sealed copy waits for its delivery and is
erased then; so the rows are the outbox from which mail is sent.
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
from florin.kit.postgres.database import Row, Tx

Kind = Literal["invitation", "password_reset", "email_verification"]

LIVES: dict[Kind, timedelta] = {
    "invitation": timedelta(days=7),
    "password_reset": timedelta(hours=1),
    "email_verification": timedelta(days=2),
}
_PREFIX = "flt_"
_BYTES = 32


class LetterInvalid(Refusal):
    """This token is wrong, was used, or is too old: ask for another."""

    code = "token_invalid"
    status = 422


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailTokens:
    """Writes letters and takes their tokens back. `peppers`: the one in use first."""

    sealer: Sealer
    peppers: Sequence[bytes]

    async def write(self, tx: Tx, merchant: UUID, member: UUID, kind: Kind) -> UUID:
        """Write one; earlier ones of its kind are void. To nobody it writes none, as quickly."""
        await tx.run(
            "update florin.letter set used_at = clock_timestamp(), sealed = null"
            " where merchant = $1 and member = $2 and kind = $3 and used_at is null",
            merchant,
            member,
            kind,
        )
        letter, token = ids.new(), _PREFIX + secrets.token_urlsafe(_BYTES)
        await tx.run(
            "insert into florin.letter (merchant, id, member, kind, hash, sealed, expires_at)"
            " select m.merchant, $2, m.id, $4, $5, $6, clock_timestamp() + $7::interval"
            " from florin.member m where m.merchant = $1 and m.id = $3",
            merchant,
            letter,
            member,
            kind,
            _hash(self.peppers[0], token),
            self.sealer.seal(token, bound_to=bound(merchant, letter)),
            LIVES[kind],
        )
        return letter

    async def take(self, tx: Tx, kind: Kind, token: str) -> Row:
        """Use a token up; whose it is: merchant and member. Raises LetterInvalid."""
        row = await tx.one(
            "update florin.letter set used_at = clock_timestamp(), sealed = null"
            " where hash = any($1) and kind = $2 and used_at is null"
            " and expires_at > clock_timestamp() returning merchant, member, id",
            [_hash(pepper, token) for pepper in self.peppers],
            kind,
        )
        if row is None:
            raise LetterInvalid(param="token")
        return row

    def token_of(self, row: Row) -> str:
        """What to deliver. Raises SealBroken."""
        return self.sealer.unseal(row["sealed"], bound_to=bound(row["merchant"], row["id"]))


def bound(merchant: UUID, letter: UUID) -> bytes:
    return b"letter" + merchant.bytes + letter.bytes


def _hash(pepper: bytes, token: str) -> bytes:
    return keyed_hash(pepper, b"letter\0" + token.encode())
