"""Gateways: a merchant's own accounts at Stripe and PayPal: connect, test, renew, turn off.

A secret goes from the form to the API and never back into a page. Every change needs a recent
proof of identity, so the page asks for it before a form is filled in, not after.
"""

from typing import Any

from litestar import get, post

from florin.kit.errors import NotFound
from florin.kit.settings import Settings
from florin.payments.gateways.stripe_objects import EVENTS
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.forms import PageForm
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

# What is typed for each provider, in the API's words; the last one may be given later.
FIELDS: dict[str, tuple[str, ...]] = {
    "stripe": ("secret_key", "webhook_secret"),
    "paypal": ("client_id", "client_secret", "webhook_id"),
}
# What is sent to a webhook; the patterns are those of PayPal's own list of events.
HOOK_EVENTS: dict[str, tuple[str, ...]] = {
    "stripe": EVENTS,
    "paypal": ("CHECKOUT.ORDER.*", "PAYMENT.CAPTURE.*", "CUSTOMER.DISPUTE.*"),
}
_PAGE = 50
_BLAMED = frozenset((409, 422, 429))
_MODES = {True: ("sk_live_", "rk_live_"), False: ("sk_test_", "rk_test_")}


@get("/console/gateways", **PAGE)
async def gateways_page(view: PageView, visitor: Visitor, after: str = "") -> PageResponse:
    frame = await open_frame(view, visitor)
    page = await frame.api.get("/gateways", limit=_PAGE, starting_after=after)
    return frame.show("console/gateways.html", page=page, after=after)


@get("/console/gateways/new", **PAGE)
async def new_gateway_page(view: PageView, visitor: Visitor, provider: str = "") -> PageResponse:
    frame = await open_frame(view, visitor)
    require_provider(provider)
    if not visitor.caller.fresh:  # now, not after a secret was typed
        return view.go("/sign-in/again", next=f"/console/gateways/new?provider={provider}")
    return _show_form(frame, provider)


@post("/console/gateways/new", status_code=200, **PAGE)
async def connect_gateway_form(view: PageView, visitor: Visitor) -> PageResponse:
    frame = await open_frame(view, visitor)
    form = await view.form()
    provider = form.text("provider")
    require_provider(provider)
    given = _typed_secrets(form, provider)
    real = form.text("live") == "yes"
    body: dict[str, Any] = {"provider": provider, "live": real, **given}
    try:
        made = await frame.api.post("/gateways", body)
    except ApiProblem as refused:
        errors = _explain_secrets(view, _blamed_gateway(refused), given, real=real)
        return _show_form(frame, provider, errors=errors, real=real)
    return view.go(f"/console/gateways/{made['id']}", done="connected")


@get("/console/gateways/{gateway:str}", **PAGE)
async def gateway_page(
    view: PageView, visitor: Visitor, settings: Settings, gateway: str
) -> PageResponse:
    return await _show_gateway(await open_frame(view, visitor), settings, gateway)


@post("/console/gateways/{gateway:str}/{action:str}", status_code=200, **PAGE)
async def change_gateway_form(
    view: PageView, visitor: Visitor, settings: Settings, gateway: str, action: str
) -> PageResponse:
    """Do one thing to a gateway. The API checks that this person may, and proved it recently."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    path = f"/gateways/{gateway}"
    given: dict[str, Any] = {}
    found = await frame.api.get(path)
    try:
        if action == "test":  # its answer is in this page alone
            check = await frame.api.post(f"{path}/test")
            return await _show_gateway(frame, settings, gateway, check=check)
        if action == "renew":
            given = _typed_secrets(form, found["provider"])
            if not given:
                nothing = {"": view.word("Type what is new. What you leave empty stays.")}
                return await _show_gateway(frame, settings, gateway, errors=nothing)
            await frame.api.patch(path, given)
        elif action == "on":
            await frame.api.patch(path, {"state": "on"})
        elif action == "off":
            await frame.api.delete(path)
        else:
            raise NotFound
    except ApiProblem as refused:
        errors = _explain_secrets(view, _blamed_gateway(refused), given, real=found["live"])
        return await _show_gateway(frame, settings, gateway, errors=errors)
    return view.go(f"/console/gateways/{gateway}", done=action)


def require_provider(provider: str) -> None:
    """Raises NotFound."""
    if provider not in FIELDS:
        raise NotFound


def _typed_secrets(form: PageForm, provider: str) -> dict[str, Any]:
    return {name: form.text(name) for name in FIELDS[provider] if form.text(name)}


def _blamed_gateway(refused: ApiProblem) -> dict[str, str]:
    """The reasons by field; a missing right or anything unexpected is an error page."""
    if refused.status not in _BLAMED and refused.code != "email_not_verified":
        raise refused
    return refused.details() or {"": refused.detail}


def _explain_secrets(
    view: PageView, errors: dict[str, str], given: dict[str, Any], *, real: bool
) -> dict[str, str]:
    """The API names the form of a secret for programs; a page does it for people."""
    other = view.word("Type it as it is shown there: 8 characters or more, without spaces.")
    key = view.word("For test money the key begins with sk_test_ or rk_test_.")
    if real:
        key = view.word("For real money the key begins with sk_live_ or rk_live_.")
    said = dict(errors)
    for name in FIELDS["stripe"] + FIELDS["paypal"]:
        if name in said and not _fits(name, given.get(name, ""), real=real):
            said[name] = key if name == "secret_key" else other
    return said


def _fits(name: str, typed: str, *, real: bool) -> bool:
    if name == "secret_key" and not typed.startswith(_MODES[real]):
        return False
    return len(typed) in range(8, 256) and all("!" <= each <= "~" for each in typed)


def _show_form(
    frame: ConsoleFrame,
    provider: str,
    *,
    errors: dict[str, str] | None = None,
    real: bool = False,
) -> PageResponse:
    return frame.show(
        "console/gateway-new.html",
        status=422 if errors else 200,
        provider=provider,
        errors=errors or {},
        real=real,
    )


async def _show_gateway(
    frame: ConsoleFrame,
    settings: Settings,
    gateway: str,
    *,
    errors: dict[str, str] | None = None,
    check: dict[str, Any] | None = None,
) -> PageResponse:
    found = await frame.api.get(f"/gateways/{gateway}")
    return frame.show(
        "console/gateway.html",
        status=422 if errors else 200,
        gateway=found,
        hook=f"{settings.page_origin}{found['webhook_path']}",
        events=HOOK_EVENTS[found["provider"]],
        errors=errors or {},
        check=check,
    )


handlers = [
    gateways_page,
    new_gateway_page,
    connect_gateway_form,
    gateway_page,
    change_gateway_form,
]
