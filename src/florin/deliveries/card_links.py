"""Card links: the secret addresses of the pages of cards, `/c/{token}`.

Anyone who has the token may see the code. A token has 128 random bits and is stored as a keyed hash
only. A link has a copy of the code of its own, sealed under a key that is derived from the token
and FLORIN_SEAL_KEY: only a request that has the token opens it, and it is erased with the link.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from florin.kit import ids
from florin.kit.encryption import Sealer, UnsealFailed, keyed_hash
from florin.kit.postgres.database import Database, Tx

_BYTES = 16
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")

_INSERT = """
insert into florin.card_link (merchant, id, card, token_hash, sealed_code)
select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bytea[], $5::bytea[])
"""
_FIND = """
select l.merchant, l.id, l.card, l.sealed_code from florin.card_link l
where l.token_hash = any($1) and l.revoked_at is null limit 1
"""
_REVOKE = """
update florin.card_link set revoked_at = clock_timestamp(), sealed_code = null
where merchant = $1 and card = $2 and revoked_at is null
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLink:
    """A link that a request opened. `secret`: the code as 16 characters, followed by the PIN if
    the card has one; None if the key that sealed it was removed.
    """

    merchant: UUID
    card: UUID
    secret: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLinks:
    """Makes, opens and revokes card links. `seal_keys` and `peppers`: the current one first."""

    seal_keys: Sequence[str]
    peppers: Sequence[str]

    async def make(self, tx: Tx, merchant: UUID, card: UUID, secret: str) -> str:
        """Make a link; return its token. `secret`: see OpenedLink. Older links stay valid."""
        [token] = await self.make_links(tx, [(merchant, card, secret)])
        return token

    async def make_links(self, tx: Tx, cards: Sequence[tuple[UUID, UUID, str]]) -> list[str]:
        """Make a link for each merchant, card and secret, in one statement; return their tokens."""
        tokens = [secrets.token_urlsafe(_BYTES) for _ in cards]
        links = [ids.new_id() for _ in cards]
        await tx.run(
            _INSERT,
            [merchant for merchant, _, _ in cards],
            links,
            [card for _, card, _ in cards],
            [_hash(self.peppers[0], token) for token in tokens],
            [
                self._sealer(token).seal(secret, bound_to=_binding(merchant, link, card))
                for token, link, (merchant, card, secret) in zip(tokens, links, cards, strict=True)
            ],
        )
        return tokens

    async def open(self, database: Database, token: str) -> OpenedLink | None:
        """The card of a token, and its code; None for a token that is unknown or revoked."""
        if not _TOKEN.fullmatch(token):
            return None
        row = await database.one(_FIND, [_hash(pepper, token) for pepper in self.peppers])
        if row is None:
            return None
        binding = _binding(row["merchant"], row["id"], row["card"])
        secret: str | None
        try:
            secret = self._sealer(token).unseal(row["sealed_code"], bound_to=binding)
        except UnsealFailed:
            secret = None
        return OpenedLink(merchant=row["merchant"], card=row["card"], secret=secret)

    async def is_open(self, tx: Tx, token: str) -> bool:
        """Whether a token opens a link that is not revoked."""
        return await tx.one(_FIND, [_hash(pepper, token) for pepper in self.peppers]) is not None

    @staticmethod
    async def revoke_all(tx: Tx, merchant: UUID, card: UUID) -> int:
        """Revoke the links of a card and erase their copies of its code; return how many."""
        return int((await tx.run(_REVOKE, merchant, card)).rpartition(" ")[2])

    def _sealer(self, token: str) -> Sealer:
        derived = (
            hmac.digest(key.encode(), b"card link\0" + token.encode(), "sha256").hex()
            for key in self.seal_keys
        )
        return Sealer(*derived)


def _hash(pepper: str, token: str) -> bytes:
    return keyed_hash(pepper.encode(), b"card link\0" + token.encode())


def _binding(merchant: UUID, link: UUID, card: UUID) -> bytes:
    return b"card link" + merchant.bytes + link.bytes + card.bytes
