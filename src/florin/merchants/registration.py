"""Registration: a merchant and its first member, the owner, who is signed in at once."""

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
    """New merchants cannot register here."""

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
    """A merchant whose owner is invited: the token is what the owner's e-mail will hold."""

    merchant: Merchant
    user: User
    token: str
    expires_at: datetime


async def invite_owner(
    database: Database, letters: EmailTokens, want: MerchantRequest, email: str
) -> Invited:
    """Make a merchant for someone who is not signed in: the operator's way where sign-up is closed.

    Raises EmailTaken, InvalidRequest.
    """
    await check_merchant(database, want, within="")
    merchant, owner = ids.new_id(), ids.new_id()
    by = AuditActor(merchant=merchant, actor=audit_log.FLORIN)
    async with database.transaction() as tx:
        merchant_row = await _insert(tx, merchant, want)
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
        facts = {"name": want.name, "owner": ids.show_id("usr", owner)}
        await audit_log.record_audit(
            tx, by, "merchant.added", ids.show_id("mer", merchant), after=facts
        )
    return Invited(
        merchant=merchant_from(merchant_row),
        user=members.member_from_row(member_row),
        token=letters.token_of(row),
        expires_at=row["expires_at"],
    )


async def check_merchant(database: Database, want: MerchantRequest, *, within: str) -> None:
    """Raises InvalidRequest for a country, currency or time zone that does not exist."""
    check_country(want.country, param=f"{within}country")
    check_currency(want.currency, param=f"{within}currency")
    await check_time_zone(database, want.timezone, param=f"{within}timezone")


async def _insert(tx: Tx, merchant: UUID, want: MerchantRequest) -> Row:
    row = await tx.one(
        "insert into florin.merchant (id, name, country, currency, timezone, test)"
        " values ($1, $2, $3, $4, $5, $6) returning *",
        merchant,
        want.name,
        want.country,
        want.currency,
        want.timezone,
        want.test,
    )
    assert row is not None
    return row


async def register_owner(
    identity: IdentityServices, client: RequestOrigin, want: RegisterRequest
) -> Registered:
    """Raises EmailTaken, InvalidRequest, RateLimited, Overloaded. A password is hashed last, once
    nothing else is wrong.
    """
    email = normalized(want.email)
    check_password(want.password, email=email)
    await check_merchant(identity.database, want.merchant, within="merchant.")
    await identity.limits.take(SIGN_UPS, client.address)
    try:
        await members.require_unknown(identity.database, email)
    except members.EmailTaken:
        await identity.limits.count(SIGN_UPS, client.address, times=TAKEN)
        raise
    password_hash = await passwords.hash_password(want.password)
    merchant, owner = ids.new_id(), ids.new_id()
    by = client.audit_actor(merchant, ids.show_id("usr", owner))
    async with identity.database.transaction() as tx:
        merchant_row = await _insert(tx, merchant, want.merchant)
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
        facts = {"name": want.merchant.name, "owner": by.actor}
        await audit_log.record_audit(
            tx, by, "merchant.registered", ids.show_id("mer", merchant), after=facts
        )
    return Registered(
        merchant=merchant_from(merchant_row),
        user=members.member_from_row(member_row),
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
    )
