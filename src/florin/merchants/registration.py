"""Registration: a merchant and its first member, the owner, who is signed in at once."""

from florin.identity import audit_log, members, sessions
from florin.identity.credentials import passwords
from florin.identity.credentials.passwords import Password
from florin.identity.members import User
from florin.identity.network_limits import SIGN_UPS, TAKEN
from florin.identity.services import IdentityServices, RequestOrigin
from florin.identity.sessions import SignedIn
from florin.kit import ids
from florin.kit.email_address import Email, normalized
from florin.kit.errors import Refusal
from florin.kit.http.body import Request, check_country, check_currency
from florin.merchants.merchant import Merchant, MerchantRequest, check_zone, merchant_from


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


async def register(
    people: IdentityServices, client: RequestOrigin, want: RegisterRequest
) -> Registered:
    """Raises EmailTaken, InvalidRequest, RateLimited, Overloaded. A password is hashed last, once
    nothing else is wrong.
    """
    check_country(want.merchant.country, param="merchant.country")
    check_currency(want.merchant.currency, param="merchant.currency")
    check_zone(want.merchant.timezone)
    email = normalized(want.email)
    await people.limits.take(SIGN_UPS, client.address)
    try:
        await members.require_unknown(people.database, email)
    except members.EmailTaken:
        await people.limits.count(SIGN_UPS, client.address, times=TAKEN)
        raise
    password_hash = await passwords.make_hash(want.password)
    merchant, owner = ids.new(), ids.new()
    by = client.by(merchant, ids.show("usr", owner))
    async with people.database.transaction() as tx:
        merchant_row = await tx.one(
            "insert into florin.merchant (id, name, country, currency, timezone, test)"
            " values ($1, $2, $3, $4, $5, $6) returning *",
            merchant,
            want.merchant.name,
            want.merchant.country,
            want.merchant.currency,
            want.merchant.timezone,
            want.merchant.test,
        )
        member_row = await members.add(
            tx,
            merchant=merchant,
            member=owner,
            email=email,
            role="owner",
            password_hash=password_hash,
        )
        await people.letters.write(tx, merchant, owner, "email_verification")
        signed_in = await sessions.begin(tx, people, client, merchant, owner, second_factor=False)
        facts = {"name": want.merchant.name, "owner": by.actor}
        await audit_log.record(
            tx, by, "merchant.registered", ids.show("mer", merchant), after=facts
        )
    assert merchant_row is not None
    return Registered(
        merchant=merchant_from(merchant_row),
        user=members.from_row(member_row),
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
    )
