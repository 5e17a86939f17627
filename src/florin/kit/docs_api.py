"""Docs API: the interface described, for machines and for people."""

from typing import Any

import msgspec
from litestar import Request, Response, get

from florin.kit import docs_page


def routes(base: str) -> list[Any]:
    """`base`/openapi.json and `base`/docs."""

    @get(f"{base}/openapi.json", include_in_schema=False)
    async def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
        """The document of the interface: OpenAPI 3.1."""
        document = msgspec.json.encode(request.app.openapi_schema.to_schema())
        return Response(document, media_type="application/json")

    @get(f"{base}/docs", include_in_schema=False)
    async def docs(request: Request[Any, Any, Any]) -> Response[str]:
        """The same as a page."""
        host = f"{request.url.scheme}://{request.url.netloc}"
        shown = docs_page.page(request.app.openapi_schema.to_schema(), base=base, example_host=host)
        return Response(
            shown,
            media_type="text/html",
            headers={
                "content-security-policy": docs_page.POLICY,
                "cache-control": "no-cache",
                "referrer-policy": "no-referrer",
            },
        )

    return [openapi_json, docs]
