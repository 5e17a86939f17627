"""Paths: normalization of a request's path, before any rule is applied to it.

The balancer normalizes in the same way: percent-encoding is decoded, except that of a slash, which
stays and so matches no route; repeated slashes count as one, `.` and `..` are resolved, a trailing
slash is dropped. So no spelling of a path bypasses a rule.
"""

from urllib.parse import unquote

_ENCODED_SLASH = "%2F"


def normalized(raw: bytes) -> str:
    """Return the normalized form of a path as it was received."""
    text = raw.decode("latin-1")
    if "%" in text:
        kept = text.replace("%2f", _ENCODED_SLASH).replace(_ENCODED_SLASH, "%252F")
        text = unquote(kept)
    segments: list[str] = []
    for segment in text.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    return "/" + "/".join(segments)
