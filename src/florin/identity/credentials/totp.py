"""TOTP: the second factor: time-based codes (RFC 6238) and recovery codes for a lost device.

A code is valid once: its time step is stored, and codes of that step or an earlier one are refused
from then on. The secret is encrypted with a key that the database does not have; recovery codes are
stored as keyed hashes.
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
_DRIFT = (0, -1, 1)  # steps that the clock of the device may be off
_RECOVERY = 10
_RECOVERY_BYTES = 10  # 80 bits: 16 symbols of base32

_MEMBER = """
select totp_sealed, totp_confirmed_at, totp_step, recovery_hashes,
  extract(epoch from clock_timestamp())::float8 as now
from florin.member where merchant = $1 and id = $2 for no key update
"""


class Enrolment(msgspec.Struct, kw_only=True):
    """The secret for an authenticator, or `uri` as a QR code. Confirm it with a code."""

    object: Literal["second_factor"] = "second_factor"
    secret: str
    uri: str


class RecoveryCodes(msgspec.Struct, kw_only=True):
    """Each code allows one sign-in without the authenticator. They are shown only once."""

    object: Literal["recovery_codes"] = "recovery_codes"
    recovery_codes: list[str]


class TotpFactors:
    """Creates and checks second factors. `peppers`: the current one first."""

    def __init__(self, sealer: Sealer, peppers: Sequence[bytes]) -> None:
        self._sealer = sealer
        self._peppers = peppers

    async def enrol(self, tx: Tx, merchant: UUID, member: UUID, email: str) -> Enrolment:
        """Create a secret that takes effect when it is confirmed."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        await self._keep(tx, merchant, member, secret)
        return Enrolment(
            secret=base64.b32encode(secret).decode(),
            uri=_totp(secret).get_provisioning_uri(email, "Florin"),
        )

    async def confirm(self, tx: Tx, merchant: UUID, member: UUID, typed: str) -> list[str] | None:
        """Turn the factor on with a code; the recovery codes, or None if the code is wrong."""
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
        """Use a code. Returns `totp` or `recovery`; None if it is wrong or was used before."""
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
            return False  # encrypted with a key that was removed since
        totp, now = _totp(secret), int(row["now"])
        for drift in _DRIFT:
            step = now // _STEP_S + drift
            right = totp.generate(step * _STEP_S)
            if step > row["totp_step"] and hmac.compare_digest(right, typed.encode()):
                # Encrypted again at each use, so that an old key can be removed after a rotation.
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
    # Sessions lose the proof too: it must not count for a role that requires a second factor, nor
    # for the next second factor.
    await tx.run(
        "update florin.session set second_factor = false where merchant = $1 and member = $2",
        merchant,
        member,
    )


def _totp(secret: bytes) -> TOTP:
    # Authenticators support SHA-1 only; its weaknesses do not affect HMAC.
    return TOTP(secret, _DIGITS, SHA1(), _STEP_S)  # noqa: S303


def _bound(merchant: UUID, member: UUID) -> bytes:
    return b"totp" + merchant.bytes + member.bytes


def _hash(pepper: bytes, member: UUID, code: str) -> bytes:
    return keyed_hash(pepper, b"recovery\0" + member.bytes + code.encode())
