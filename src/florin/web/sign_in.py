"""Sign in: the pages for signing in and out, joining, and setting a password."""

from typing import Any

from litestar import get, post

from florin.identity import login, sessions
from florin.identity.authentication import Authenticator
from florin.identity.login import LoginRequest, MfaRequest, MfaRequired
from florin.identity.reauthentication import InvalidCredentials
from florin.identity.services import IdentityServices
from florin.identity.sessions import SignedIn
from florin.kit.errors import InvalidRequest, RateLimited, Unauthenticated
from florin.kit.settings import Settings
from florin.web.internal_api import ApiProblem
from florin.web.local_paths import local_path
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.sign_in_cookie import CookieTokens, SecondStep
from florin.web.visitors import Visitor, Visitors

_HOMES = {"cashier": "/till"}


@get("/sign-in", **PAGE)
async def sign_in_page(view: PageView, settings: Settings, next: str = "") -> PageResponse:  # noqa: A002 -- the name in the URL
    return _show_sign_in(view, settings, next=local_path(next, ""))


@post("/sign-in", status_code=200, **PAGE)
async def sign_in(
    view: PageView, identity: IdentityServices, visitors: Visitors, settings: Settings
) -> PageResponse:
    """The same answer in the same time for a wrong password and for an unknown address."""
    form = await view.form()
    email, following = form.text("email"), local_path(form.text("next"), "")
    try:
        request = LoginRequest(email=email, password=form.secret("password"))
        signed = await login.sign_in(identity, identity.client(view.request), request)
    except MfaRequired as refusal:
        step = SecondStep(str(refusal.extra["mfa_token"]), following)
        view.keep_header(visitors.cookie.keep_step(step))
        return view.go("/sign-in/second")
    except (InvalidCredentials, InvalidRequest):
        return _show_sign_in(view, settings, next=following, email=email, error="refused")
    except RateLimited as refusal:
        wait = refusal.retry_after_s or 60
        return _show_sign_in(
            view, settings, next=following, email=email, error="locked", wait=wait, status=429
        )
    return await _begin(view, visitors, identity, signed, following)


@get("/sign-in/second", **PAGE)
async def second_page(view: PageView, visitors: Visitors) -> PageResponse:
    if visitors.cookie.read_step(view.request.headers.get("cookie", "")) is None:
        return view.go("/sign-in")
    return view.show("sign-in/second.html", error="")


@post("/sign-in/second", status_code=200, **PAGE)
async def second_step(
    view: PageView, identity: IdentityServices, visitors: Visitors
) -> PageResponse:
    step = visitors.cookie.read_step(view.request.headers.get("cookie", ""))
    if step is None:
        return view.go("/sign-in")
    code = (await view.form()).text("code")
    try:
        signed = await login.sign_in_with_factor(
            identity, identity.client(view.request), MfaRequest(mfa_token=step.token, code=code)
        )
    except InvalidCredentials:
        return view.show("sign-in/second.html", status=401, error="refused")
    except RateLimited:
        return view.show("sign-in/second.html", status=429, error="locked")
    except Unauthenticated:
        view.keep_header(visitors.cookie.end_step())
        return view.go("/sign-in")
    view.keep_header(visitors.cookie.end_step())
    return await _begin(view, visitors, identity, signed, local_path(step.next, ""))


@get("/sign-in/again", **PAGE)
async def again_page(view: PageView, visitor: Visitor, next: str = "") -> PageResponse:  # noqa: A002 -- the name in the URL
    return await _show_again(view, visitor, next=local_path(next, "/console"))


@post("/sign-in/again", status_code=200, **PAGE)
async def sign_in_again(view: PageView, visitor: Visitor, access: Authenticator) -> PageResponse:
    """Prove again who you are: members, keys and roles are changed within ten minutes of it."""
    form = await view.form()
    following = local_path(form.text("next"), "/console")
    proof: dict[str, Any] = {"password": form.secret("password")}
    if form.text("code"):
        proof["code"] = form.text("code")
    try:
        await view.api(visitor).post("/auth/reauthentication", proof)
    except ApiProblem as refused:
        error = "locked" if refused.status == 429 else "refused"  # noqa: PLR2004 -- rate limited
        return await _show_again(view, visitor, next=following, error=error, status=refused.status)
    access.forget(visitor.caller.actor)
    return view.go(following)


@post("/sign-out", status_code=200, **PAGE)
async def sign_out(view: PageView, visitor: Visitor, visitors: Visitors) -> PageResponse:
    await view.api(visitor).post("/auth/logout")
    view.keep_header(visitors.cookie.end_session())
    return view.go("/sign-in", done="signed-out")


@get("/sign-up", **PAGE)
async def sign_up_page(view: PageView, settings: Settings) -> PageResponse:
    return view.show("sign-in/sign-up.html", open=settings.signup_open, errors={}, typed={})


@post("/sign-up", status_code=200, **PAGE)
async def sign_up(
    view: PageView, visitors: Visitors, identity: IdentityServices, settings: Settings
) -> PageResponse:
    form = await view.form()
    names = ("email", "name", "country", "currency", "timezone")
    typed = {name: form.text(name) for name in names}
    merchant = {
        "name": typed["name"],
        "country": typed["country"].upper(),
        "currency": typed["currency"].upper(),
        "timezone": typed["timezone"] or "UTC",
        "test": form.ticked("test"),
    }
    body = {"email": typed["email"], "password": form.secret("password"), "merchant": merchant}
    try:
        made = await view.api().post("/auth/register", body)
    except ApiProblem as refused:
        details = refused.details() or {"": refused.detail}
        errors = {name.removeprefix("merchant."): why for name, why in details.items()}
        return view.show(
            "sign-in/sign-up.html",
            status=refused.status,
            open=settings.signup_open,
            errors=errors,
            typed=typed,
        )
    signed = SignedIn(access_token=made["access_token"], refresh_token=made["refresh_token"])
    return await _begin(view, visitors, identity, signed, "/console")


async def _begin(
    view: PageView,
    visitors: Visitors,
    identity: IdentityServices,
    signed: SignedIn,
    following: str,
) -> PageResponse:
    """Keep the session in the browser and lead on, to the page that the role works with."""
    header = view.request.headers.get("cookie", "")
    earlier = visitors.cookie.read_tokens(header)
    if earlier is not None:  # another sign-in in this browser ends: no one else can end it
        claims = identity.tokens.read_refresh(earlier.refresh)
        if claims is not None:
            async with identity.database.transaction() as tx:
                await sessions.revoke_session(tx, claims.merchant, claims.member, claims.session)
    view.keep_header(
        visitors.cookie.keep_tokens(CookieTokens(signed.access_token, signed.refresh_token))
    )
    if following:
        return view.go(following)
    visitor = await visitors.of_token(view.request, signed.access_token)
    return view.go(_HOMES.get(visitor.caller.role or "", "/console"))


def _show_sign_in(
    view: PageView,
    settings: Settings,
    *,
    next: str,  # noqa: A002 -- the name in the URL
    email: str = "",
    error: str = "",
    wait: int = 0,
    status: int | None = None,
) -> PageResponse:
    return view.show(
        "sign-in/sign-in.html",
        status=status or (401 if error else 200),
        next=next,
        email=email,
        error=error,
        wait=wait,
        open=settings.signup_open,
    )


async def _show_again(
    view: PageView,
    visitor: Visitor,
    *,
    next: str,  # noqa: A002 -- the name in the URL
    error: str = "",
    status: int = 200,
) -> PageResponse:
    me = await view.api(visitor).get("/auth/me")
    return view.show("sign-in/again.html", status=status, next=next, error=error, user=me["user"])


handlers = [
    sign_in_page,
    sign_in,
    second_page,
    second_step,
    again_page,
    sign_in_again,
    sign_out,
    sign_up_page,
    sign_up,
]
