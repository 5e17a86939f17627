"""Static files: responses that a browser or a CDN may cache: documents by their ETag, static files
permanently.

The URL of a static file contains a fingerprint of its content. So the pages of a new release never
get the files of an old one, and a CDN needs no purge.
"""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from litestar import Request, Response, get

from florin.kit.errors import NotFound
from florin.kit.http.compression import LEAST, accepts_gzip

STATIC = "/static"
_FOREVER = "public, max-age=31536000, immutable"
# A file that a sheet or a manifest names.
_OTHER = re.compile(rb'(?<=url\()[\w.-]+(?=\))|(?<="src": ")[\w.-]+(?=")')
_NAMING = (".css", ".webmanifest")
_REVALIDATE = "no-cache"  # cached, but revalidated each time: a new release is seen at once


@dataclass(frozen=True, slots=True)
class CachedBody:
    """A response body, plain and compressed; `tag` is its ETag (RFC 9110, 8.8.3)."""

    body: bytes
    packed: bytes | None
    kind: str
    tag: str


def cache_body(body: bytes, kind: str) -> CachedBody:
    packed = gzip.compress(body, 9, mtime=0) if len(body) >= LEAST else None
    return CachedBody(body, packed, kind, body_tag(body))


def body_tag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:20]


def send_cached(
    request: Request[Any, Any, Any], kept: CachedBody, *, forever: bool = False, **headers: str
) -> Response[bytes]:
    """Answer with the body, or with 304 if the caller's If-None-Match has its ETag."""
    packed = kept.packed is not None and accepts_gzip(request.headers.get("accept-encoding", ""))
    tag = f'"{kept.tag}{"-gzip" if packed else ""}"'
    about = {
        "cache-control": _FOREVER if forever else _REVALIDATE,
        "etag": tag,
        "vary": "Accept-Encoding",
        "cross-origin-resource-policy": "same-origin",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if has_tag(request.headers.get("if-none-match", ""), tag):
        return Response(b"", status_code=304, headers=about)
    if packed:
        about["content-encoding"] = "gzip"
    body = kept.packed if packed and kept.packed is not None else kept.body
    return Response(body, media_type=kept.kind, headers=about)


def has_tag(if_none_match: str, tag: str) -> bool:
    known = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return "*" in known or tag in known


@cache
def _static() -> dict[str, tuple[str, CachedBody]]:
    """Every file of web/static by name, with its fingerprinted name and its content."""
    static: dict[str, tuple[str, CachedBody]] = {}
    found = files("florin").joinpath("web", "static").iterdir()
    # Last what names other files, by their fingerprints.
    for file in sorted(found, key=lambda each: (each.name.endswith(_NAMING), each.name)):
        name, body = file.name.removesuffix(".gz"), file.read_bytes()
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        if name.endswith(_NAMING):
            body = _OTHER.sub(lambda match: static[match[0].decode()][0].encode(), body)
        kept = cache_body(body, kind) if name == file.name else _unpack(body, kind)
        stem, dot, suffix = name.rpartition(".")
        static[name] = (f"{stem}.{kept.tag[:12]}{dot}{suffix}", kept)
    return static


def _unpack(packed: bytes, kind: str) -> CachedBody:
    """A large file is kept compressed: to compress it takes an instance 0.2 s at its start."""
    body = gzip.decompress(packed)
    return CachedBody(body, packed, kind, body_tag(body))


def static_url(name: str) -> str:
    """The URL path of a static file. Raises KeyError for an unknown name."""
    return f"{STATIC}/{_static()[name][0]}"


@cache
def _by_address() -> dict[str, CachedBody]:
    return dict(_static().values())


@get(f"{STATIC}/{{file:str}}", include_in_schema=False)
async def serve_static(request: Request[Any, Any, Any], file: str) -> Response[bytes]:
    """A file by its fingerprinted name; a file of another release is 404, never other content."""
    kept = _by_address().get(file)
    if kept is None:
        raise NotFound
    return send_cached(request, kept, forever=True)
