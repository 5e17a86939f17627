"""Location: where this till stands. The browser keeps it: each redemption is recorded with it."""

from urllib.parse import quote, unquote

from litestar import post

from florin.kit.settings import Settings
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.sign_in_cookie import has_secure_cookies
from florin.web.visitors import Visitor

LOCATION_MAX = 64
_COOKIE = "florin-till"
_KEPT_S = 365 * 86_400


def read_location(view: PageView) -> str:
    """The location of this till; empty if none was chosen."""
    for pair in view.request.headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == _COOKIE:
            return _clean(unquote(value, errors="replace"))
    return ""


@post("/till/location", status_code=200, **PAGE)
async def choose_location(view: PageView, visitor: Visitor, settings: Settings) -> PageResponse:
    """Nothing typed: no location from now on."""
    del visitor  # any who may take money
    form = await view.form()
    location = _clean(form.text("location"))
    secure = "; Secure" if has_secure_cookies(settings) else ""
    kept = _KEPT_S if location else 0
    text = f"{_COOKIE}={quote(location, safe='')}; Path=/till; Max-Age={kept}"
    header = f"{text}; HttpOnly; SameSite=Strict{secure}"
    view.keep_header((b"set-cookie", header.encode()))
    return view.go("/till", done="location")


def _clean(text: str) -> str:
    """One line without control characters, as the API takes it."""
    shown = "".join(each for each in text if each.isprintable())
    return " ".join(shown.split())[:LOCATION_MAX].strip()


handlers = [choose_location]
