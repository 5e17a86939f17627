"""Organisation: members, API keys, the audit log and the settings of a merchant."""

from typing import Any

from litestar import get, post

from florin.identity.scopes import ROLES, SCOPES
from florin.kit.errors import NotFound
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_BLAMED = frozenset((402, 404, 409, 422, 429))


@get("/console/members", **PAGE)
async def members_page(view: PageView, visitor: Visitor, after: str = "") -> PageResponse:
    return await _show_members(await open_frame(view, visitor), errors={}, after=after)


@post("/console/members", status_code=200, **PAGE)
async def invite(view: PageView, visitor: Visitor) -> PageResponse:
    frame = await open_frame(view, visitor)
    form = await view.form()
    body = {"email": form.text("email"), "role": form.text("role")}
    try:
        await frame.api.post("/members", body)
    except ApiProblem as refused:
        return await _show_members(frame, errors=blamed_fields(refused), typed=body)
    return view.go("/console/members", done="invited")


@post("/console/members/{member:str}/{action:str}", status_code=200, **PAGE)
async def change_member(view: PageView, visitor: Visitor, member: str, action: str) -> PageResponse:
    frame = await open_frame(view, visitor)
    form = await view.form()
    try:
        if action == "role":
            await frame.api.patch(f"/members/{member}", {"role": form.text("role")})
        elif action == "remove":
            await frame.api.delete(f"/members/{member}")
        elif action == "reset-second-factor":
            await frame.api.post(f"/members/{member}/reset-second-factor")
        else:
            raise NotFound
    except ApiProblem as refused:
        return await _show_members(frame, errors=blamed_fields(refused))
    return view.go("/console/members", done=action)


@get("/console/keys", **PAGE)
async def keys_page(view: PageView, visitor: Visitor, after: str = "") -> PageResponse:
    return await _show_keys(await open_frame(view, visitor), errors={}, after=after)


@post("/console/keys", status_code=200, **PAGE)
async def create_key(view: PageView, visitor: Visitor) -> PageResponse:
    """The secret is in this answer alone."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    body: dict[str, Any] = {"name": form.text("name"), "scopes": form.all("scopes")}
    if form.text("location"):
        body["location"] = form.text("location")
    try:
        made = await frame.api.post("/api-keys", body, key=form.text("key"))
    except ApiProblem as refused:
        return await _show_keys(frame, errors=blamed_fields(refused), typed=body)
    return await _show_keys(frame, errors={}, made=made)


@post("/console/keys/{key_id:str}/revoke", status_code=200, **PAGE)
async def revoke_key(view: PageView, visitor: Visitor, key_id: str) -> PageResponse:
    frame = await open_frame(view, visitor)
    await frame.api.delete(f"/api-keys/{key_id}")
    return view.go("/console/keys", done="revoked")


@get("/console/audit", **PAGE)
async def audit_page(
    view: PageView,
    visitor: Visitor,
    actor: str = "",
    action: str = "",
    subject: str = "",
    after: str = "",
) -> PageResponse:
    frame = await open_frame(view, visitor)
    only = {"actor": actor.strip(), "action": action.strip(), "subject": subject.strip()}
    page = await frame.api.get("/audit", limit=50, starting_after=after, **only)
    return frame.show("console/audit.html", page=page, only=only, after=after)


@get("/console/settings", **PAGE)
async def settings_page(view: PageView, visitor: Visitor) -> PageResponse:
    return show_settings(await open_frame(view, visitor), errors={})


@post("/console/settings", status_code=200, **PAGE)
async def change_settings(view: PageView, visitor: Visitor) -> PageResponse:
    frame = await open_frame(view, visitor)
    form = await view.form()
    body: dict[str, Any] = {
        "name": form.text("name"),
        "timezone": form.text("timezone"),
        "slug": form.optional("slug"),
        "card_color": form.text("card_color"),
        "line_color": form.text("line_color"),
        "second_factor_roles": [role for role in ROLES if role in form.all("roles")],
    }
    try:
        await frame.api.patch("/merchant", body)
    except ApiProblem as refused:
        return show_settings(frame, errors=blamed_fields(refused), typed=body)
    return view.go("/console/settings", done="saved")


def blamed_fields(refused: ApiProblem) -> dict[str, str]:
    """The reasons by field; anything else than a mistake of the form is an error page."""
    if refused.status not in _BLAMED:
        raise refused
    return refused.details() or {"": refused.detail}


async def _show_members(
    frame: ConsoleFrame,
    *,
    errors: dict[str, str],
    typed: dict[str, str] | None = None,
    after: str = "",
) -> PageResponse:
    page = await frame.api.get("/members", limit=50, starting_after=after)
    return frame.show(
        "console/members.html",
        status=422 if errors else 200,
        page=page,
        roles=list(ROLES),
        errors=errors,
        typed=typed or {},
    )


async def _show_keys(
    frame: ConsoleFrame,
    *,
    errors: dict[str, str],
    typed: dict[str, Any] | None = None,
    made: dict[str, Any] | None = None,
    after: str = "",
) -> PageResponse:
    page = await frame.api.get("/api-keys", limit=50, starting_after=after)
    return frame.show(
        "console/keys.html",
        status=422 if errors else 200,
        page=page,
        scopes=sorted(SCOPES),
        errors=errors,
        typed=typed or {},
        made=made,
        key=frame.view.new_key(),
    )


def show_settings(
    frame: ConsoleFrame, *, errors: dict[str, str], typed: dict[str, Any] | None = None
) -> PageResponse:
    return frame.show(
        "console/settings.html",
        status=422 if errors else 200,
        errors=errors,
        roles=list(ROLES),
        typed={**frame.me["merchant"], **(typed or {})},
    )


handlers = [
    members_page,
    invite,
    change_member,
    keys_page,
    create_key,
    revoke_key,
    audit_page,
    settings_page,
    change_settings,
]
