"""Registration: create a merchant with its owner, who is signed in or invited by e-mail."""

from datetime import datetime
from uuid import UUID

import msgspec

from florin.identity import audit_log, members, sessions
from florin.identity.audit_log import AuditActor
from florin.identity.credentials import passwords
from florin.identity.credentials.email_tokens import EmailTokens
from florin.identity.credentials.password_rules import check_password
from florin.identity.credentials.passwords import Password
from florin.identity.members import User
from florin.identity.network_limits import SIGN_UPS, TAKEN
from florin.identity.services import IdentityServices, RequestOrigin
from florin.identity.sessions import SignedIn
from florin.kit import ids
from florin.kit.email_address import Email, normalized
from florin.kit.errors import Refusal
from florin.kit.http.body import Request, check_country, check_currency
from florin.kit.postgres.database import Database, Row, Tx
from florin.merchants.merchant import Merchant, MerchantRequest, check_time_zone, merchant_from


class SignupClosed(Refusal):
    """Sign-up is closed on this installation; ask its operator for an invitation."""

    code = "signup_closed"
    status = 403


class RegisterRequest(Request, kw_only=True):
    email: Email
    password: Password
    merchant: MerchantRequest


class Registered(SignedIn, kw_only=True):
    merchant: Merchant
    user: User


class Invited(msgspec.Struct, kw_only=True):
    """A merchant whose owner is invited. `token`: the one in the owner's e-mail."""

    merchant: Merchant
    user: User
    token: str
    expires_at: datetime


async def invite_owner(
    database: Database, letters: EmailTokens, request: MerchantRequest, email: str
) -> Invited:
    """Create a merchant and invite its owner: for the operator, while sign-up is closed.

    Raises EmailTaken, InvalidRequest.
    """
    await check_merchant(database, request, within="")
    merchant, owner = ids.new_id(), ids.new_id()
    by = AuditActor(merchant=merchant, actor=audit_log.FLORIN)
    async with database.transaction() as tx:
        merchant_row = await _insert(tx, merchant, request)
        member_row = await members.add_member(
            tx,
            merchant=merchant,
            member=owner,
            email=normalized(email),
            role="owner",
            password_hash=None,
        )
        token = await letters.write(tx, merchant, owner, "invitation")
        row = await tx.one(
            "select * from florin.email_token where merchant = $1 and id = $2", merchant, token
        )
        assert row is not None
        facts = {"name": request.name, "owner": ids.show_id("usr", owner)}
        await audit_log.record_audit(
            tx, by, "merchant.added", ids.show_id("mer", merchant), after=facts
        )
    return Invited(
        merchant=merchant_from(merchant_row),
        user=members.member_from_row(member_row),
        token=letters.token_of(row),
        expires_at=row["expires_at"],
    )


async def check_merchant(database: Database, request: MerchantRequest, *, within: str) -> None:
    """Raises InvalidRequest for a country, currency or time zone that does not exist."""
    check_country(request.country, param=f"{within}country")
    check_currency(request.currency, param=f"{within}currency")
    await check_time_zone(database, request.timezone, param=f"{within}timezone")


async def _insert(tx: Tx, merchant: UUID, request: MerchantRequest) -> Row:
    row = await tx.one(
        "insert into florin.merchant (id, name, country, currency, timezone, test)"
        " values ($1, $2, $3, $4, $5, $6) returning *",
        merchant,
        request.name,
        request.country,
        request.currency,
        request.timezone,
        request.test,
    )
    assert row is not None
    return row


async def register_owner(
    identity: IdentityServices, client: RequestOrigin, request: RegisterRequest
) -> Registered:
    """Register a merchant and sign its owner in. The password is hashed after all other checks.

    Raises EmailTaken, InvalidRequest, RateLimited, Overloaded.
    """
    email = normalized(request.email)
    check_password(request.password, email=email)
    await check_merchant(identity.database, request.merchant, within="merchant.")
    await identity.limits.take(SIGN_UPS, client.address)
    try:
        await members.require_unknown(identity.database, email)
    except members.EmailTaken:
        await identity.limits.count(SIGN_UPS, client.address, times=TAKEN)
        raise
    password_hash = await passwords.hash_password(request.password)
    merchant, owner = ids.new_id(), ids.new_id()
    by = client.audit_actor(merchant, ids.show_id("usr", owner))
    async with identity.database.transaction() as tx:
        merchant_row = await _insert(tx, merchant, request.merchant)
        member_row = await members.add_member(
            tx,
            merchant=merchant,
            member=owner,
            email=email,
            role="owner",
            password_hash=password_hash,
        )
        await identity.email_tokens.write(tx, merchant, owner, "email_verification")
        signed_in = await sessions.begin_session(
            tx, identity, client, merchant, owner, second_factor=False
        )
        facts = {"name": request.merchant.name, "owner": by.actor}
        await audit_log.record_audit(
            tx, by, "merchant.registered", ids.show_id("mer", merchant), after=facts
        )
    return Registered(
        merchant=merchant_from(merchant_row),
        user=members.member_from_row(member_row),
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
    )
