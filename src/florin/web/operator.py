"""Operator: the page of the operator process on the public port, for those who run the
installation, next to what the database knows: deliveries, unexplained money and quotas.

Who is not one of them gets the answer of an address that does not exist, for every path below
/operator alike, and before anything is read.
"""

import re
from pathlib import Path

import httpx
from litestar import Response, get

from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.operator.installation import read_installation
from florin.operator.operators import is_operator
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_WITHIN_S = 3.0
# What is forwarded: the page, its state, its files, runbooks, and the mailbox. Neither metrics nor
# the number of workers.
_FORWARDED = re.compile(
    r"/operator/(?:state|static/[\w-]+\.[\w.-]+|runbooks/[\w-]+|mailbox(?:/[0-9a-f]{16}(?:/html)?)?)"
)
# One event, then the end: the browser opens the stream again after two seconds, at any instance,
# and none holds it open.
_EVENT = b"retry: 2000\nevent: state\ndata: {}\n\n"


class OperatorPage:
    """Fetches the pages of the operator process. `url`: its address; None: there is none."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._client: httpx.AsyncClient | None = None

    @property
    def is_connected(self) -> bool:
        return self._url is not None

    async def fetch(self, path: str) -> httpx.Response | None:
        """Its answer; None if it gives none."""
        if self._url is None:
            return None
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self._url, timeout=_WITHIN_S, follow_redirects=False, trust_env=False
            )
        try:
            return await self._client.get(path, headers={"florin-public": "yes"})
        except httpx.HTTPError:
            return None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def require_operator(visitor: Visitor, settings: Settings) -> None:
    """Raises NotFound; SecondFactorRequired for an operator who must set one up."""
    if "queues:read" not in visitor.caller.scopes or not is_operator(visitor.caller, settings):
        raise NotFound
    visitor.caller.needs("queues:read")


@get("/operator", **PAGE)
async def operator_page(
    view: PageView, visitor: Visitor, settings: Settings, operator_page: OperatorPage, db: Database
) -> PageResponse:
    require_operator(visitor, settings)
    answer = await operator_page.fetch("/operator")
    if answer is None or answer.status_code != 200:  # noqa: PLR2004 -- the page
        return await _show_installation(view, db, operator_page, missing=True)
    return _forward(answer)


@get("/operator/installation", **PAGE)
async def installation_page(
    view: PageView, visitor: Visitor, settings: Settings, operator_page: OperatorPage, db: Database
) -> PageResponse:
    require_operator(visitor, settings)
    return await _show_installation(view, db, operator_page)


@get("/operator/{rest:path}", **PAGE)
async def operator_file(
    view: PageView, visitor: Visitor, settings: Settings, operator_page: OperatorPage, rest: Path
) -> PageResponse:
    del rest  # the path as it was normalised counts
    require_operator(visitor, settings)
    path = str(view.scope["path"])
    if _FORWARDED.fullmatch(path) is None:
        raise NotFound
    if path == "/operator/state" and "text/event-stream" in view.request.headers.get("accept", ""):
        return Response(_EVENT, media_type="text/event-stream", headers=_PRIVATE)
    answer = await operator_page.fetch(path)
    if answer is None or answer.status_code != 200:  # noqa: PLR2004 -- a page
        raise NotFound
    return _forward(answer)


_PRIVATE = {"cache-control": "no-store", "vary": "Cookie"}


def _forward(answer: httpx.Response) -> PageResponse:
    """The answer with its own policy: a kept mail is foreign HTML, which its policy confines."""
    return Response(
        answer.content,
        media_type=answer.headers["content-type"],
        headers={
            **_PRIVATE,
            "content-security-policy": answer.headers["content-security-policy"],
            "referrer-policy": "no-referrer",
        },
    )


async def _show_installation(
    view: PageView, database: Database, fleet: OperatorPage, *, missing: bool = False
) -> PageResponse:
    return view.show(
        "operator.html",
        referrer="no-referrer",
        installation=await read_installation(database),
        connected=fleet.is_connected,
        missing=missing and fleet.is_connected,
    )


handlers = [operator_page, installation_page, operator_file]
