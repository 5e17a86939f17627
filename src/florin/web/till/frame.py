"""Frame: what the pages of the till share: who is at it, and an outcome that is not known yet."""

from typing import Any

from florin.web.forms import PageForm
from florin.web.internal_api import ApiClient, ApiProblem
from florin.web.pages import PageResponse, PageView

# The same form with the same key is the right answer to both.
UNKNOWN = frozenset(("outcome_unknown", "overloaded"))
TYPED = ("code", "due", "reference", "location")
_REPEATED = (
    *("code", "amount", "currency", "reference", "location", "key", "take", "has", "pin", "how"),
    *("program", "email", "name"),
)


async def read_me(view: PageView, api: ApiClient) -> Any:
    me = await api.get("/auth/me")
    view.in_zone(me["merchant"]["timezone"])
    return me


async def show_unknown(view: PageView, api: ApiClient, form: PageForm, action: str) -> PageResponse:
    """The outcome is a state of its own: the same form again, with the same key."""
    try:
        me = await read_me(view, api)
    except ApiProblem:  # the database still does not answer
        me = None
    fields = {name: form.text(name) for name in _REPEATED if form.text(name)}
    return view.show("till/unknown.html", status=503, me=me, action=action, fields=fields)
