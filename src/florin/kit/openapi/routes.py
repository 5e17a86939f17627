"""Routes: the API's documentation as OpenAPI and as a page; clients may cache both."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get

from florin.kit.errors import Refusal
from florin.kit.http import static_files
from florin.kit.openapi import page as docs_page
from florin.kit.openapi.document import Json, complete_document

_HOST_IN_EXAMPLES = "$FLORIN_URL"  # used if FLORIN_PUBLIC_URL is not set


class ApiDocumentation:
    """The OpenAPI document of an application and its page, each made once."""

    def __init__(
        self,
        base: str,
        needs: Mapping[str, str],
        public_url: str | None,
        scoped: Sequence[type[Refusal]] = (),
    ) -> None:
        self._base, self._needs, self._public_url = base, needs, public_url
        self._scoped = scoped
        self._document: Json | None = None
        self._encoded: static_files.CachedBody | None = None
        self._page: static_files.CachedBody | None = None

    def document(self, app: Litestar) -> Json:
        """Raises LookupError for a route without a required scope in `needs`."""
        if self._document is None:
            server = self._public_url or "/"
            self._document = complete_document(
                app, base=self._base, needs=self._needs, server=server, scoped=self._scoped
            )
        return self._document

    def lists(self, app: Litestar) -> frozenset[str]:
        """The routes that return lists: those contain no codes and no secrets."""
        return frozenset(
            path
            for path, operations in self.document(app)["paths"].items()
            if operations.get("get", {}).get("operationId", "").startswith("list_")
        )

    async def options(self, request: Request[Any, Any, Any]) -> Response[None] | None:
        """Answer OPTIONS; the framework would list the methods of only one of a path's handlers."""
        if request.method != "OPTIONS":
            return None
        path = str(request.scope["path_template"])
        methods = {method.upper() for method in self.document(request.app)["paths"].get(path, ())}
        methods = methods or {"GET"}  # routes outside the document only read
        methods |= {"OPTIONS", *(("HEAD",) if "GET" in methods else ())}
        return Response(None, status_code=204, headers={"allow": ", ".join(sorted(methods))})

    def encoded(self, app: Litestar) -> static_files.CachedBody:
        if self._encoded is None:
            self._encoded = static_files.cache_body(
                msgspec.json.encode(self.document(app)), "application/json"
            )
        return self._encoded

    def page(self, app: Litestar) -> static_files.CachedBody:
        """The page; made once, since nothing in it depends on the request."""
        if self._page is None:
            host = self._public_url or _HOST_IN_EXAMPLES
            shown = docs_page.render_page(self.document(app), base=self._base, example_host=host)
            self._page = static_files.cache_body(shown.encode(), "text/html")
        return self._page

    def routes(self) -> list[Any]:
        """`base`/openapi.json and `base`/docs."""

        @get(f"{self._base}/openapi.json", include_in_schema=False)
        async def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
            """The OpenAPI 3.1 document of the API."""
            return static_files.send_cached(request, self.encoded(request.app))

        @get(f"{self._base}/docs", include_in_schema=False)
        async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
            """The document as an HTML page."""
            page = self.page(request.app)
            return static_files.send_cached(request, page, content_security_policy=docs_page.POLICY)

        return [openapi_json, docs, static_files.serve_static]
