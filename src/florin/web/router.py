"""Router: the routes of all pages, with what they share: the view, the visitor, their errors."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from litestar import Response, Router
from litestar.di import Provide

from florin.kit.http.asgi import asgi_scope
from florin.kit.http.litestar_adapter import AnyRequest
from florin.web.environment import POLICY, render_template
from florin.web.error_pages import render_problem
from florin.web.forms import is_form
from florin.web.internal_api import ApiProblem, InternalApi
from florin.web.languages import choose_language
from florin.web.local_paths import local_path, referring_page
from florin.web.pages import PageResponse, PageView
from florin.web.public_pages import HTML, PublicPages
from florin.web.visitors import SignInNeeded, Visitor

# Where a person continues whose rights need one more step.
_STEPS = {
    "unauthenticated": "/sign-in",
    "reauthentication_required": "/sign-in/again",
    "second_factor_required": "/account/second-factor",
}


def pages_router(handlers: Sequence[Any]) -> Router:
    """The router of the pages."""
    return Router(
        path="/",
        route_handlers=list(handlers),
        dependencies={
            "view": Provide(_view),
            "visitor": Provide(_visitor, sync_to_thread=False),
        },
        exception_handlers={SignInNeeded: _ask_to_sign_in, ApiProblem: _show_api_problem},
    )


async def _view(
    request: AnyRequest, internal_api: InternalApi, public_pages: PublicPages
) -> PageView:
    view = PageView(request, internal_api, public_pages)
    if request.method == "POST" and is_form(request):
        await view.form()  # so that the page of an early error has it
    return view


def _visitor(request: AnyRequest) -> Visitor:
    """The visitor whom the guard of the application has found."""
    found: Visitor = asgi_scope(request)["visitor"]
    return found


def _ask_to_sign_in(request: AnyRequest, error: Exception) -> PageResponse:
    assert isinstance(error, SignInNeeded)
    if error.retry:
        language = choose_language(request.headers.get("accept-language", ""))
        return Response(
            render_template("again.html", language, target=_here(request)).encode(),
            media_type=HTML,
            headers={"content-security-policy": POLICY},
        )
    return _lead(request, "/sign-in")


def _show_api_problem(request: AnyRequest, error: Exception) -> PageResponse:
    assert isinstance(error, ApiProblem)
    step = _STEPS.get(error.code)
    if step is not None:
        return _lead(request, step)
    headers = {"content-security-policy": POLICY}
    if error.retry_after is not None:
        headers["retry-after"] = error.retry_after
    return Response(
        render_problem(asgi_scope(request), error.problem),
        status_code=error.status,
        media_type=HTML,
        headers=headers,
    )


def _lead(request: AnyRequest, path: str) -> PageResponse:
    """To a page that leads back here: for a form, to the page that has it."""
    back = _here(request) if request.method == "GET" else referring_page(asgi_scope(request))
    target = f"{path}?next={quote(back)}" if back != "/" else path
    return Response(b"", status_code=303, media_type=HTML, headers={"location": target})


def _here(request: AnyRequest) -> str:
    query = request.url.query
    return local_path(f"{request.url.path}?{query}" if query else request.url.path, "/")
