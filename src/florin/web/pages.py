"""Pages: what a handler of a page needs: its language, its form, and its answer.

A page is a route outside `/api`:

    @get("/balance", **PAGE)
    async def balance(view: PageView) -> PageResponse:
        return view.show("balance.html", found=None)

`view` is provided to every route of the router of pages; a route that names `visitor` is for people
who signed in. `page_routes.py` has the permission of each. A POST answers with a page that repeats
what was typed, or leads on by `view.go` (303), so that a reload repeats nothing.
"""

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from litestar import Response

from florin.kit.http.asgi import asgi_scope
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.static_files import cache_body, send_cached
from florin.web.environment import CAMERA_POLICY, POLICY, render_template
from florin.web.formats import Formats
from florin.web.forms import PageForm, read_form
from florin.web.internal_api import ApiClient, InternalApi
from florin.web.languages import (
    choose_language,
    format_locale,
    language_codes,
    read_catalogue,
)
from florin.web.public_pages import HTML, PublicPages, page_key
from florin.web.visitors import Visitor, keep_header

PageResponse = Response[bytes]
# Options of every page's route: not in the OpenAPI document, and a campaign's parameters in the
# URL do not refuse it.
PAGE: dict[str, Any] = {"include_in_schema": False, "opt": {"page": True}}
PUBLIC_S = 60
_STALE_S = 600


class PageView:
    """One request for a page."""

    def __init__(self, request: AnyRequest, api: InternalApi, public: PublicPages) -> None:
        self.request = request
        self.scope = asgi_scope(request)
        self.language = choose_language(
            request.headers.get("accept-language", ""), request.query_params.get("lang")
        )
        self._api = api
        self._public = public
        self._formats = Formats(format_locale(self.language))

    @property
    def asked_language(self) -> str | None:
        """The language that the URL asks for, if there are texts in it."""
        asked = self.request.query_params.get("lang")
        return asked if asked in language_codes() else None

    @property
    def _done(self) -> str:
        """What was just done, of the page that led here."""
        return self.request.query_params.get("done", "")

    @property
    def formats(self) -> Formats:
        return self._formats

    def in_zone(self, zone: str) -> None:
        """Write times in the time zone of a merchant from now on."""
        self._formats = Formats(format_locale(self.language), zone)

    def api(self, visitor: Visitor | None = None) -> ApiClient:
        """The API, with the rights of the visitor."""
        authorization = None if visitor is None else visitor.authorization
        return ApiClient(self._api, self.scope, authorization)

    def word(self, text: str) -> str:
        """A text of the catalogue, in the language of the page."""
        return read_catalogue(self.language).gettext(text)

    async def form(self) -> PageForm:
        """Raises InvalidRequest."""
        kept: PageForm | None = self.scope.get("page_form")
        if kept is None:
            # Kept for the page of an error, too.
            kept = self.scope["page_form"] = await read_form(self.request)
        return kept

    def new_key(self) -> str:
        """An idempotency key for a form: a second press of its button changes nothing more."""
        return f"page-{secrets.token_urlsafe(18)}"

    def keep_header(self, header: tuple[bytes, bytes]) -> None:
        keep_header(self.scope, header)

    def render(self, template: str, **context: Any) -> bytes:
        return render_template(
            template,
            self.language,
            self._formats,
            languages=language_codes(),
            path=self.scope["path"],
            done=self._done,
            **context,
        ).encode()

    def show(
        self,
        template: str,
        *,
        status: int = 200,
        referrer: str = "same-origin",
        camera: bool = False,
        **context: Any,
    ) -> PageResponse:
        """A page for one person: no cache keeps it. `camera`: it may use the camera."""
        return Response(
            self.render(template, **context),
            status_code=status,
            media_type=HTML,
            headers={
                "content-security-policy": CAMERA_POLICY if camera else POLICY,
                "permissions-policy": "camera=(self)" if camera else "camera=()",
                "referrer-policy": referrer,
                "vary": "Cookie, Accept-Language",
            },
        )

    async def show_public(
        self, template: str, shown: Any, make_context: Callable[[], dict[str, Any]]
    ) -> PageResponse:
        """A page that is the same for everyone in this language: a CDN may keep it. `shown`: all
        that the context is made of, see `public_pages.py`.
        """

        def render() -> bytes:
            return self.render(template, **make_context())

        if self._done:  # or a visitor could fill the cache with texts of the URL
            page = cache_body(render(), HTML)
        else:
            key = page_key(template, self.language, self.scope["path"], shown)
            page = await self._public.page(key, render)
        return send_cached(
            self.request,
            page,
            cache_control=f"public, max-age={PUBLIC_S}, stale-while-revalidate={_STALE_S}",
            content_security_policy=POLICY,
            referrer_policy="same-origin",
            vary="Accept-Encoding, Accept-Language",
        )

    def go(self, path: str, **query: Any) -> PageResponse:
        """Lead on to a page of this origin, after a change (303, RFC 9110, 15.4.4)."""
        given = urlencode({name: value for name, value in query.items() if value})
        return Response(
            b"",
            status_code=303,
            media_type=HTML,
            headers={"location": f"{path}?{given}" if given else path},
        )
