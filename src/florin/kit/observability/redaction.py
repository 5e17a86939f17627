"""Redaction: what must never stand in a log is taken out of what is about to be written there.

The first belt is that nobody logs such things. This is the second, for texts that others make:
errors of the driver quote the parameters of a query, those of the parser quote the body.
"""

import re
import traceback
from typing import Any

GONE = "[gone]"
_SECRETS = re.compile(
    r"\b(?:flk|whsec|sk|rk|pk)_[\w.+/=-]{6,}"  # keys of ours and of Stripe
    r"|\beyJ[\w.-]{10,}"  # JSON Web Tokens
    r"|(?i:\bbearer\s+\S+)"
    r"|\b[0-9A-Za-z]{4}(?:[- ][0-9A-Za-z]{4}){3,5}\b"  # codes of cards, and numbers of others
    r"|\b\d{13,19}\b"
    r"|\b[\w.+-]{1,64}@[\w-]+\.[\w.]+"  # people; of a longer address the end
    r"|(?<=://)[^/\s@]+@"  # who signs in at a server
)
# A message quotes what it was given, in one of these ways.
_QUOTED = re.compile(
    r"(?<!\w)'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|=\(.*?\)(?=\W|\Z)|(?<=: )b?'.*\Z",
    re.DOTALL,
)
_FRAMES_MAX = 40
_MESSAGE_MAX = 2000  # characters; where quotations nest, what a message costs grows with its square


def redact_secrets(text: str) -> str:
    """Take out what looks like a secret, a code or a person."""
    return _SECRETS.sub(GONE, text)


def redact_message(text: str) -> str:
    """Take out every quotation as well: for texts of libraries."""
    if len(text) > _MESSAGE_MAX:  # cut, it could end within a quotation
        return f"[a message of {len(text)} characters]"
    return redact_secrets(_QUOTED.sub(GONE, text))


def looks_secret(text: str) -> bool:
    return _SECRETS.search(text) is not None


def redact_exception(error: BaseException | None) -> list[dict[str, Any]]:
    """An exception and its causes, the last first: type, message without quotations, and frames."""
    found: list[dict[str, Any]] = []
    while error is not None and len(found) < 5:  # noqa: PLR2004 -- a chain longer says no more
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
        told: dict[str, Any] = {
            "type": f"{type(error).__module__}.{type(error).__qualname__}",
            "message": redact_message(str(error))[:500],
            "frames": [f"{each.filename}:{each.lineno} {each.name}" for each in frames],
        }
        for name in ("sqlstate", "table_name", "constraint_name"):  # names, never values
            value: Any = getattr(error, name, None)
            if isinstance(value, str):
                told[name] = value
        found.append(told)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found
