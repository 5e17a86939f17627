"""Account: the pages of one's own sign-in: password, second factor, sessions; e-mail links."""

from typing import Any

from litestar import get, post

from florin.deliveries.notices.subscriptions import NEEDED_SCOPE
from florin.web.drawing.codes import draw_qr
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor, Visitors


@get("/reset", **PAGE)
async def reset_page(view: PageView, token: str = "") -> PageResponse:
    """Without a token, the page that asks for the e-mail; with the one from it, a new password."""
    return view.show(
        "sign-in/reset.html",
        referrer="no-referrer" if token else "same-origin",
        token=token,
        asked=False,
        errors={},
        email="",
    )


@post("/reset", status_code=200, **PAGE)
async def reset(view: PageView) -> PageResponse:
    form = await view.form()
    token, email = form.text("token"), form.text("email")
    try:
        if not token:
            await view.api().post("/auth/password-resets", {"email": email})
            return view.show("sign-in/reset.html", token="", asked=True, errors={}, email=email)
        body = {"token": token, "password": form.secret("password")}
        await view.api().post("/auth/password-resets/confirm", body)
    except ApiProblem as refused:
        errors = refused.details() or {"": refused.detail}
        return view.show(
            "sign-in/reset.html",
            status=refused.status,
            token=token,
            asked=False,
            errors=errors,
            email=email,
        )
    return view.go("/sign-in", done="password-set")


@get("/invite/{token:str}", **PAGE)
async def invitation_page(view: PageView, token: str) -> PageResponse:
    return view.show("sign-in/invite.html", referrer="no-referrer", token=token, errors={})


@post("/invite/{token:str}", status_code=200, **PAGE)
async def accept_invitation(view: PageView, token: str) -> PageResponse:
    form = await view.form()
    body = {"token": token, "password": form.secret("password")}
    try:
        await view.api().post("/auth/invitations/accept", body)
    except ApiProblem as refused:
        return view.show(
            "sign-in/invite.html",
            status=refused.status,
            referrer="no-referrer",
            token=token,
            errors=refused.details() or {"": refused.detail},
        )
    return view.go("/sign-in", done="joined")


@get("/verify/{token:str}", **PAGE)
async def verification_page(view: PageView, token: str) -> PageResponse:
    """A button, since mail filters open links: a GET changes nothing."""
    return view.show("sign-in/verify.html", referrer="no-referrer", token=token, error="")


@post("/verify/{token:str}", status_code=200, **PAGE)
async def verify_address(view: PageView, token: str) -> PageResponse:
    try:
        await view.api().post("/auth/email-verifications/confirm", {"token": token})
    except ApiProblem as refused:
        return view.show(
            "sign-in/verify.html",
            status=refused.status,
            referrer="no-referrer",
            token=token,
            error=refused.detail,
        )
    return view.go("/sign-in", done="verified")


@get("/account", **PAGE)
async def account_page(view: PageView, visitor: Visitor) -> PageResponse:
    return await _show_account(view, visitor)


@post("/account/password", status_code=200, **PAGE)
async def change_password(view: PageView, visitor: Visitor) -> PageResponse:
    form = await view.form()
    body = {
        "current_password": form.secret("current_password"),
        "password": form.secret("password"),
    }
    try:
        await view.api(visitor).post("/auth/password", body)
    except ApiProblem as refused:
        details = refused.details() or {"current_password": refused.detail}
        return await _show_account(view, visitor, status=refused.status, errors=details)
    return view.go("/account", done="password-changed")


@post("/account/notices", status_code=200, **PAGE)
async def change_notices(view: PageView, visitor: Visitor) -> PageResponse:
    form = await view.form()
    await view.api(visitor).patch("/auth/notices", {"about": form.all("about")})
    return view.go("/account", done="notices-changed")


@post("/account/sessions/{session_id:str}/end", status_code=200, **PAGE)
async def end_session(view: PageView, visitor: Visitor, session_id: str) -> PageResponse:
    await view.api(visitor).delete(f"/sessions/{session_id}")
    return view.go("/account", done="session-ended")


@post("/account/sign-out-everywhere", status_code=200, **PAGE)
async def sign_out_everywhere(view: PageView, visitor: Visitor, visitors: Visitors) -> PageResponse:
    api = view.api(visitor)
    while True:
        page = await api.get("/sessions", limit=100)
        others = [each["id"] for each in page["data"] if not each["current"]]
        for each in others:
            await api.delete(f"/sessions/{each}")
        if not page["has_more"]:
            break
    await api.post("/auth/logout")
    view.keep_header(visitors.cookie.end_session())
    return view.go("/sign-in", done="signed-out")


@get("/account/second-factor", **PAGE)
async def factor_page(view: PageView, visitor: Visitor) -> PageResponse:
    return await _show_factor(view, visitor)


@post("/account/second-factor", status_code=200, **PAGE)
async def change_factor(view: PageView, visitor: Visitor) -> PageResponse:
    """Set up, confirm or turn off, as the button says."""
    form = await view.form()
    api = view.api(visitor)
    act = form.text("act")
    try:
        if act == "begin":
            made = await api.post("/auth/totp", {"password": form.secret("password")})
            return await _show_factor(view, visitor, enrolment=made)
        if act == "confirm":
            made = await api.post("/auth/totp/confirm", {"code": form.text("code")})
            return await _show_factor(view, visitor, codes=made["recovery_codes"])
        proof = {"password": form.secret("password"), "code": form.text("code")}
        if act == "renew":
            made = await api.post("/auth/totp/recovery-codes", proof)
            return await _show_factor(view, visitor, codes=made["recovery_codes"])
        await api.post("/auth/totp/disable", proof)
    except ApiProblem as refused:
        enrolment = None
        if act == "confirm" and form.text("secret"):
            enrolment = {"secret": form.text("secret"), "uri": form.text("uri")}
        return await _show_factor(
            view, visitor, status=refused.status, error=refused.detail, enrolment=enrolment
        )
    return view.go("/account", done="factor-off")


async def _show_account(
    view: PageView, visitor: Visitor, *, status: int = 200, errors: dict[str, str] | None = None
) -> PageResponse:
    api = view.api(visitor)
    me = await api.get("/auth/me")
    view.in_zone(me["merchant"]["timezone"])
    sessions = await api.get("/sessions", limit=100)
    notices = await api.get("/auth/notices")
    return view.show(
        "sign-in/account.html",
        status=status,
        me=me,
        sessions=sessions["data"],
        about=notices["about"],
        offered=[each for each, scope in NEEDED_SCOPE.items() if scope in me["scopes"]],
        errors=errors or {},
    )


async def _show_factor(
    view: PageView,
    visitor: Visitor,
    *,
    status: int = 200,
    error: str = "",
    enrolment: dict[str, Any] | None = None,
    codes: list[str] | None = None,
) -> PageResponse:
    me = await view.api(visitor).get("/auth/me")
    drawn = None
    if enrolment is not None and enrolment["uri"].startswith("otpauth://"):
        drawn = draw_qr(enrolment["uri"], "QR")
    return view.show(
        "sign-in/second-factor.html",
        status=status,
        me=me,
        error=error,
        enrolment=enrolment,
        drawn=drawn,
        codes=codes,
    )


handlers = [
    reset_page,
    reset,
    invitation_page,
    accept_invitation,
    verification_page,
    verify_address,
    account_page,
    change_password,
    change_notices,
    end_session,
    sign_out_everywhere,
    factor_page,
    change_factor,
]
