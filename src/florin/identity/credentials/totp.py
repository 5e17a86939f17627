"""TOTP: the second factor: codes by time (RFC 6238) and, for a lost telephone, recovery codes.

A code counts once: the step it belongs to is remembered, and neither it nor an earlier one is taken
again. The secret is sealed outside the database's reach; recovery codes are kept as keyed hashes.
"""

import base64
import hmac
import secrets
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from florin.kit.encryption import Sealer, UnsealFailed, keyed_hash
from florin.kit.pasted_text import compacted
from florin.kit.postgres.database import Tx

_STEP_S = 30
_DIGITS = 6
_SECRET_BYTES = 20  # as long as the hash, as RFC 4226 recommends
_DRIFT = (0, -1, 1)  # steps that a telephone's clock may be off
_RECOVERY = 10
_RECOVERY_BYTES = 10  # 80 bits: 16 symbols of base32

_MEMBER = """
select totp_sealed, totp_confirmed_at, totp_step, recovery_hashes,
  extract(epoch from clock_timestamp())::float8 as now
from florin.member where merchant = $1 and id = $2 for no key update
"""


class Enrolment(msgspec.Struct, kw_only=True):
    """What an authenticator needs: the secret, or `uri` as a QR code. Confirm it with a code."""

    object: Literal["second_factor"] = "second_factor"
    secret: str
    uri: str


class RecoveryCodes(msgspec.Struct, kw_only=True):
    """Each is good for one sign-in without the authenticator. Shown once."""

    object: Literal["recovery_codes"] = "recovery_codes"
    recovery_codes: list[str]


class TotpFactors:
    """Makes and checks second factors. `peppers`: the one in use first."""

    def __init__(self, sealer: Sealer, peppers: Sequence[bytes]) -> None:
        self._sealer = sealer
        self._peppers = peppers

    async def enrol(self, tx: Tx, merchant: UUID, member: UUID, email: str) -> Enrolment:
        """Make a secret that does not count until it is confirmed."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        await self._keep(tx, merchant, member, secret)
        return Enrolment(
            secret=base64.b32encode(secret).decode(),
            uri=_totp(secret).get_provisioning_uri(email, "Florin"),
        )

    async def confirm(self, tx: Tx, merchant: UUID, member: UUID, typed: str) -> list[str] | None:
        """Turn it on with a code of it; the recovery codes, or None where the code is wrong."""
        typed = compacted(typed)
        if not await self._take_totp(tx, merchant, member, typed, confirmed=False):
            return None
        await tx.run(
            "update florin.member set totp_confirmed_at = clock_timestamp()"
            " where merchant = $1 and id = $2",
            merchant,
            member,
        )
        return await self.new_recovery(tx, merchant, member)

    async def take(self, tx: Tx, merchant: UUID, member: UUID, typed: str) -> str | None:
        """Use a code up: `totp` or `recovery`; None where it is wrong, or was used before."""
        typed = compacted(typed)
        if len(typed) == _DIGITS:
            taken = await self._take_totp(tx, merchant, member, typed, confirmed=True)
            return "totp" if taken else None
        return "recovery" if await self._take_recovery(tx, merchant, member, typed) else None

    async def new_recovery(self, tx: Tx, merchant: UUID, member: UUID) -> list[str]:
        """Replace the recovery codes."""
        codes = [secrets.token_bytes(_RECOVERY_BYTES) for _ in range(_RECOVERY)]
        shown = [base64.b32encode(code).decode().lower() for code in codes]
        await tx.run(
            "update florin.member set recovery_hashes = $3 where merchant = $1 and id = $2",
            merchant,
            member,
            [_hash(self._peppers[0], member, code) for code in shown],
        )
        return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in shown]

    async def _take_totp(
        self, tx: Tx, merchant: UUID, member: UUID, typed: str, *, confirmed: bool
    ) -> bool:
        row = await tx.one(_MEMBER, merchant, member)
        if row is None or row["totp_sealed"] is None:
            return False
        if (row["totp_confirmed_at"] is not None) != confirmed:
            return False
        try:
            secret = base64.b64decode(
                self._sealer.unseal(row["totp_sealed"], bound_to=_bound(merchant, member))
            )
        except UnsealFailed:
            return False  # sealed under a key that was taken away since
        totp, now = _totp(secret), int(row["now"])
        for drift in _DRIFT:
            step = now // _STEP_S + drift
            right = totp.generate(step * _STEP_S)
            if step > row["totp_step"] and hmac.compare_digest(right, typed.encode()):
                # Sealed anew at each use: so a key of the sealer can be changed and taken away.
                await self._keep(tx, merchant, member, secret, step=step)
                return True
        return False

    async def _take_recovery(self, tx: Tx, merchant: UUID, member: UUID, typed: str) -> bool:
        for pepper in self._peppers:
            row = await tx.one(
                "update florin.member set recovery_hashes = array_remove(recovery_hashes, $3)"
                " where merchant = $1 and id = $2 and totp_confirmed_at is not null"
                " and $3 = any(recovery_hashes) returning id",
                merchant,
                member,
                _hash(pepper, member, typed.lower()),
            )
            if row is not None:
                return True
        return False

    async def _keep(
        self, tx: Tx, merchant: UUID, member: UUID, secret: bytes, *, step: int = 0
    ) -> None:
        text = base64.b64encode(secret).decode()
        await tx.run(
            "update florin.member set totp_sealed = $3, totp_step = greatest(totp_step, $4)"
            " where merchant = $1 and id = $2",
            merchant,
            member,
            self._sealer.seal(text, bound_to=_bound(merchant, member)),
            step,
        )


async def remove_factor(tx: Tx, merchant: UUID, member: UUID) -> None:
    """Turn the second factor off."""
    await tx.run(
        "update florin.member set totp_sealed = null, totp_confirmed_at = null,"
        " recovery_hashes = '{}' where merchant = $1 and id = $2",
        merchant,
        member,
    )
    # What it proved is proved no longer: not where the role needs a factor, nor for the next one.
    await tx.run(
        "update florin.session set second_factor = false where merchant = $1 and member = $2",
        merchant,
        member,
    )


def _totp(secret: bytes) -> TOTP:
    # SHA-1 is what authenticators know; its weaknesses do not touch HMAC.
    return TOTP(secret, _DIGITS, SHA1(), _STEP_S)  # noqa: S303


def _bound(merchant: UUID, member: UUID) -> bytes:
    return b"totp" + merchant.bytes + member.bytes


def _hash(pepper: bytes, member: UUID, code: str) -> bytes:
    return keyed_hash(pepper, b"recovery\0" + member.bytes + code.encode())
