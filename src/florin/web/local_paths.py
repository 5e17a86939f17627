"""Local paths: where a page leads on to, always at its own origin."""

from urllib.parse import urlsplit

from florin.kit.http.asgi import Scope


def local_path(text: str, default: str) -> str:
    """A path of this origin to lead on to; the default for anything else (open redirects)."""
    if len(text) > 512 or not text.startswith("/") or text.startswith(("//", "/\\")):  # noqa: PLR2004 -- longer than any page's
        return default
    if any(ord(each) <= 32 or each in '\\"<>' for each in text):  # noqa: PLR2004 -- control characters
        return default
    parts = urlsplit(text)
    return default if parts.scheme or parts.netloc else text


def referring_page(scope: Scope) -> str:
    """The page of this origin that sent the request; the first page if another one did."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    referrer = urlsplit(headers.get(b"referer", b"").decode("latin-1"))
    if referrer.netloc != headers.get(b"host", b"").decode("latin-1"):
        return "/"
    path = referrer.path or "/"
    return local_path(f"{path}?{referrer.query}" if referrer.query else path, "/")
