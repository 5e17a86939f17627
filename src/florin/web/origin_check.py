"""Origin check: refuse a page's request that another site made the browser send (CSRF).

The browser states where a request comes from: `Sec-Fetch-Site` (Fetch Metadata, W3C), or at least
`Origin` (RFC 6454). A page of another origin, also of another subdomain, cannot change either. A
request with neither does not come from a browser, and so carries no cookie of a person who did not
mean it. The API is not concerned: it reads no cookie.
"""

from urllib.parse import urlsplit

from florin.kit.errors import Refusal
from florin.kit.http.asgi import App, Receive, Scope, Send

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


class CrossOriginRequest(Refusal):
    """This request came from another site; open the page itself and repeat it there."""

    code = "cross_origin"
    status = 403


def is_page(path: str) -> bool:
    """Whether a path belongs to the pages, not to the API or to health checks."""
    return not path.startswith(("/api/", "/health/")) and path not in {"/api", "/health"}


def check_origin(scope: Scope, *, public_url: str | None) -> None:
    """Raises CrossOriginRequest for a request that changes something and has another origin."""
    if scope["method"] in _SAFE or not is_page(scope["path"]):
        return
    sent: dict[bytes, str] = {name: value.decode("latin-1") for name, value in scope["headers"]}
    site = sent.get(b"sec-fetch-site")
    if site is not None:
        if site not in {"same-origin", "none"}:  # none: typed by the person, not made by a page
            raise CrossOriginRequest
        return
    origin = sent.get(b"origin")
    if origin is None:
        return
    own = {sent.get(b"host", "").lower()}
    if public_url is not None:
        own.add(urlsplit(public_url).netloc.lower())
    if not origin.startswith(("https://", "http://")) or urlsplit(origin).netloc.lower() not in own:
        raise CrossOriginRequest


def checks_origin(app: App, public_url: str | None) -> App:
    """Wrap an application with the check, which runs before a body is read."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            check_origin(scope, public_url=public_url)
        await app(scope, receive, send)

    return checked
