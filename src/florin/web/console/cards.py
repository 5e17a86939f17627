"""Cards: the list with its search, issuing a card, and a card with its statement."""

from typing import Annotated, Any

from litestar import get, post
from litestar.params import Parameter

from florin.kit import ids
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.formats import minor_units
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_PAGE = 25
_LAST_MAX = 4


@get("/console/cards", **PAGE)
async def list_cards(
    view: PageView,
    visitor: Visitor,
    q: str = "",
    card_state: Annotated[str, Parameter(query="state")] = "",
    program: str = "",
    after: str = "",
) -> PageResponse:
    """Search by id, the last four characters, an order's reference, or a recipient. A whole code
    is never searched for here: it would stand in the URL.
    """
    frame = await open_frame(view, visitor)
    if ids.parse_id("crd", q.strip()) is not None:
        return view.go(f"/console/cards/{q.strip()}")
    searched = q.strip().lstrip("\u2026.")
    query: dict[str, Any] = {"state": card_state, "program": program, "starting_after": after}
    if searched:
        by = "last4" if len(searched) == _LAST_MAX and searched.isalnum() else "recipient"
        query[by] = searched
    page = await frame.api.get("/cards", limit=_PAGE, **query)
    if searched and "last4" in query and not page["data"] and not after:
        del query["last4"]  # a name may have four letters, too
        page = await frame.api.get("/cards", limit=_PAGE, recipient=searched, **query)
    programs = await frame.api.get("/programs", limit=100)
    return frame.show(
        "console/cards.html",
        page=page,
        programs=programs["data"],
        names={each["id"]: each["name"] for each in programs["data"]},
        q=q,
        chosen_state=card_state,
        program=program,
        after=after,
    )


@get("/console/cards/new", **PAGE)
async def new_card(view: PageView, visitor: Visitor) -> PageResponse:
    frame = await open_frame(view, visitor)
    return await _show_new(frame, typed={"activate": "on"}, errors={}, key=view.new_key())


@post("/console/cards/new", status_code=200, **PAGE)
async def issue_card(view: PageView, visitor: Visitor) -> PageResponse:
    """The code is in this answer alone, and in its repetition within 24 hours."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    names = ("program", "amount", "name", "email", "reference", "activate")
    typed = {name: form.text(name) for name in names}
    program = await frame.api.get(f"/programs/{typed['program']}")
    amount = minor_units(typed["amount"], program["currency"])
    if not amount:
        errors = {"amount": view.word("Type an amount, such as 25.00.")}
        return await _show_new(frame, typed=typed, errors=errors, key=form.text("key"))
    body: dict[str, Any] = {
        "program": program["id"],
        "amount": amount,
        "activate": form.ticked("activate"),
    }
    recipient = {name: typed[name] for name in ("name", "email") if typed[name]}
    if recipient:
        body["recipient"] = recipient
    if typed["reference"]:
        body["metadata"] = {"reference": typed["reference"]}
    try:
        card = await frame.api.post("/cards", body, key=form.text("key"))
    except ApiProblem as refused:
        if refused.status not in {402, 422}:
            raise
        errors = {
            name.removeprefix("recipient."): why
            for name, why in (refused.details() or {"amount": refused.detail}).items()
        }
        return await _show_new(frame, typed=typed, errors=errors, key=view.new_key())
    return frame.show("console/code.html", card=card, program=program, why="issued")


async def _show_new(
    frame: ConsoleFrame, *, typed: dict[str, str], errors: dict[str, str], key: str
) -> PageResponse:
    programs = await frame.api.get("/programs", limit=100)
    return frame.show(
        "console/new.html",
        status=422 if errors else 200,
        programs=programs["data"],
        typed=typed,
        errors=errors,
        key=key,
    )


handlers = [list_cards, new_card, issue_card]
