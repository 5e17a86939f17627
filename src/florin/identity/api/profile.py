"""Profile: the routes of passwords, invitations, e-mail verification and second factors."""

from litestar import post

from florin.identity import profile, second_factor
from florin.identity.authentication import Authenticator, Caller
from florin.identity.credentials.email_tokens import EmailTokenInvalid
from florin.identity.credentials.totp import Enrolment, RecoveryCodes
from florin.identity.members import User
from florin.identity.profile import (
    Accepted,
    ChangePasswordRequest,
    EmailRequest,
    NewPasswordRequest,
    ResetRequest,
    TokenRequest,
)
from florin.identity.reauthentication import FactorOff, InvalidCredentials
from florin.identity.request_context import audit_actor, send_position
from florin.identity.second_factor import CodeProof, FactorAlreadyOn, FactorProof, PasswordProof
from florin.identity.services import IdentityServices
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses


@post(
    "/auth/password",
    status_code=200,
    summary="Change your password",
    responses=refusal_responses(InvalidCredentials),
)
async def change_password(
    request: AnyRequest,
    caller: Caller,
    access: Authenticator,
    identity: IdentityServices,
    data: ChangePasswordRequest,
) -> User:
    """Your other sessions end."""
    me = caller.signed_in()
    changed = await profile.change_password(identity, audit_actor(request, caller), me, data)
    access.forget(caller.actor)
    await send_position(request, identity.database)
    return changed


@post(
    "/auth/password-resets",
    status_code=202,
    summary="Request a password reset",
    responses=refusal_responses(public=True),
)
async def ask_for_reset(
    request: AnyRequest, identity: IdentityServices, data: EmailRequest
) -> Accepted:
    """Sends a token if the address belongs to a member. The response is always the same."""
    return await profile.request_email_token(
        identity, identity.client(request), "password_reset", data.email
    )


@post(
    "/auth/password-resets/confirm",
    status_code=200,
    summary="Set a new password",
    responses=refusal_responses(EmailTokenInvalid, public=True),
)
async def reset_password(
    request: AnyRequest, access: Authenticator, identity: IdentityServices, data: ResetRequest
) -> User:
    """Needs the token from the e-mail, which is valid once and for one hour. All your sessions end,
    and the API keys that you created are revoked, unless `keep_keys` is set.
    """
    user = await profile.set_password(identity, identity.client(request), "password_reset", data)
    access.forget(user.id)
    await send_position(request, identity.database)
    return user


@post(
    "/auth/invitations/accept",
    status_code=200,
    summary="Accept an invitation",
    responses=refusal_responses(EmailTokenInvalid, public=True),
)
async def accept_invitation(
    request: AnyRequest, identity: IdentityServices, data: NewPasswordRequest
) -> User:
    """Choose a password with the token from the e-mail, valid for seven days. Then sign in."""
    user = await profile.set_password(identity, identity.client(request), "invitation", data)
    await send_position(request, identity.database)
    return user


@post(
    "/auth/email-verifications",
    status_code=202,
    summary="Request an e-mail to verify your address",
    responses=refusal_responses(public=True),
)
async def ask_for_verification(
    request: AnyRequest, identity: IdentityServices, data: EmailRequest
) -> Accepted:
    """Sends a token if the address belongs to a member. The response is always the same."""
    return await profile.request_email_token(
        identity, identity.client(request), "email_verification", data.email
    )


@post(
    "/auth/email-verifications/confirm",
    status_code=200,
    summary="Verify your address",
    responses=refusal_responses(EmailTokenInvalid, public=True),
)
async def verify_email(
    request: AnyRequest, access: Authenticator, identity: IdentityServices, data: TokenRequest
) -> User:
    """Needs the token from the e-mail, which is valid once and for two days."""
    user = await profile.verify_email(identity, identity.client(request), data.token)
    access.forget(user.id)
    await send_position(request, identity.database)
    return user


@post(
    "/auth/totp",
    summary="Set up a second factor",
    responses=refusal_responses(InvalidCredentials, FactorAlreadyOn),
)
async def enrol(
    request: AnyRequest, caller: Caller, identity: IdentityServices, data: PasswordProof
) -> Enrolment:
    """The secret for your authenticator (RFC 6238). Confirm it with a code to turn it on."""
    me = caller.signed_in()
    enrolment = await second_factor.enrol_factor(
        identity, audit_actor(request, caller), me, data.password
    )
    await send_position(request, identity.database)
    return enrolment


@post(
    "/auth/totp/confirm",
    status_code=200,
    summary="Turn the second factor on",
    responses=refusal_responses(InvalidCredentials),
)
async def confirm(
    request: AnyRequest,
    caller: Caller,
    access: Authenticator,
    identity: IdentityServices,
    data: CodeProof,
) -> RecoveryCodes:
    """Signing in then requires a code. Your other sessions end. Store the recovery codes: they are
    shown only once.
    """
    me = caller.signed_in()
    codes = await second_factor.confirm_factor(
        identity, audit_actor(request, caller), me, data.code
    )
    access.forget(caller.actor)
    await send_position(request, identity.database)
    return codes


@post(
    "/auth/totp/recovery-codes",
    status_code=200,
    summary="Create new recovery codes",
    responses=refusal_responses(InvalidCredentials, FactorOff),
)
async def renew_recovery(
    request: AnyRequest, caller: Caller, identity: IdentityServices, data: FactorProof
) -> RecoveryCodes:
    """The old recovery codes stop working."""
    me = caller.signed_in()
    codes = await second_factor.renew_recovery_codes(
        identity, audit_actor(request, caller), me, data
    )
    await send_position(request, identity.database)
    return codes


@post(
    "/auth/totp/disable",
    status_code=200,
    summary="Turn the second factor off",
    responses=refusal_responses(InvalidCredentials, FactorOff),
)
async def disable(
    request: AnyRequest,
    caller: Caller,
    access: Authenticator,
    identity: IdentityServices,
    data: FactorProof,
) -> User:
    me = caller.signed_in()
    user = await second_factor.disable_factor(identity, audit_actor(request, caller), me, data)
    access.forget(caller.actor)
    await send_position(request, identity.database)
    return user


handlers = [
    change_password,
    ask_for_reset,
    reset_password,
    accept_invitation,
    ask_for_verification,
    verify_email,
    enrol,
    confirm,
    renew_recovery,
    disable,
]
