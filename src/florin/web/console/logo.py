"""Logo: the image of the merchant, sent from the settings of the console, or removed."""

import base64
from typing import Any

from litestar import post

from florin.kit.errors import InvalidRequest
from florin.merchants.branding import LOGO_BYTES
from florin.web.console.frame import open_frame
from florin.web.console.organisation import blamed_fields, show_settings
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

FORM_MAX = 2 * LOGO_BYTES  # so that an image that is too large is refused with its size
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@post("/console/settings/logo", status_code=200, request_max_body_size=FORM_MAX, **PAGE)
async def change_logo(view: PageView, visitor: Visitor) -> PageResponse:
    """The API checks the image itself, not what the browser says of it."""
    frame = await open_frame(view, visitor)
    if not view.request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidRequest("Send the image from the page", param="Content-Type")
    sent = await view.request.form()
    body: dict[str, Any] = {"logo": None}
    if not sent.get("remove"):
        file: Any = sent.get("file")
        content: bytes = await file.read() if hasattr(file, "read") else b""
        kind = next((kind for begin, kind in _KINDS.items() if content.startswith(begin)), None)
        if kind is None:
            errors = {"file": view.word("Choose a PNG or JPEG image.")}
            return show_settings(frame, errors=errors)
        body["logo"] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    try:
        await frame.api.patch("/merchant", body)
    except ApiProblem as refused:
        return show_settings(frame, errors={"file": next(iter(blamed_fields(refused).values()))})
    return view.go("/console/settings", done="saved")


handlers = [change_logo]
