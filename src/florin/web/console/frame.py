"""Frame: what every page of the console shows: the merchant, the person, and what it may do."""

from dataclasses import dataclass
from typing import Any

from florin.web.internal_api import ApiClient
from florin.web.pages import PageResponse, PageView
from florin.web.visitors import Visitor


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleFrame:
    """One request for a page of the console. `me`: the answer of GET /auth/me; `clock`: of a test
    merchant, the answer of GET /test-clock; `fresh`: whether the person has just proved who it is.
    """

    view: PageView
    api: ApiClient
    me: dict[str, Any]
    clock: dict[str, Any] | None
    fresh: bool

    @property
    def currency(self) -> str:
        return str(self.me["merchant"]["currency"])

    def may(self, scope: str) -> bool:
        return scope in self.me["scopes"]

    def show(self, template: str, *, status: int = 200, **context: Any) -> PageResponse:
        return self.view.show(
            template, status=status, me=self.me, clock=self.clock, fresh=self.fresh, **context
        )


async def open_frame(view: PageView, visitor: Visitor) -> ConsoleFrame:
    api = view.api(visitor)
    me = await api.get("/auth/me")
    view.in_zone(me["merchant"]["timezone"])
    clock = await api.get("/test-clock") if me["merchant"]["test"] else None
    return ConsoleFrame(view=view, api=api, me=me, clock=clock, fresh=visitor.caller.fresh)
