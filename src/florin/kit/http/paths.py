"""Paths: one form of a request's path, made before any rule looks at it.

The rule, which the balancer follows as well: percent-encoding is decoded, except that of a slash,
which stays and so matches no route; repeated slashes count as one, `.` and `..` are resolved, a
slash at the end is dropped. Whatever asks for a path in another spelling meets the same rules.
"""

from urllib.parse import unquote

_ENCODED_SLASH = "%2F"


def normalized(raw: bytes) -> str:
    """Return the one form of a path as it came over the wire."""
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
