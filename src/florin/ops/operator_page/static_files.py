"""Static files: the sheet, the script, the font and the icon of the page, by their fingerprints."""

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PREFIX = "/operator/static/"
_SHEET, _FONT = "florin.css", "besley-latin-500.woff2"
_NAMES = (_FONT, _SHEET, "operator.js", "icon.svg")  # the font first: the sheet names it


@dataclass(frozen=True, slots=True)
class StaticFile:
    body: bytes
    kind: str


@cache
def _files() -> tuple[dict[str, str], dict[str, StaticFile]]:
    """Return the file names in URLs by name, and the files by these."""
    names: dict[str, str] = {}
    served: dict[str, StaticFile] = {}
    for name in _NAMES:
        body = files("florin").joinpath("web", "static", name).read_bytes()
        if name == _SHEET:
            body = body.replace(_FONT.encode(), names[_FONT].encode())
        stem, _, suffix = name.rpartition(".")
        names[name] = f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{suffix}"
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        served[names[name]] = StaticFile(body, kind)
    return names, served


def static_url(name: str) -> str:
    return PREFIX + _files()[0][name]


def static_file(name: str) -> StaticFile | None:
    """Return the file of this fingerprinted name; None for one of another release."""
    return _files()[1].get(name)
