"""Redaction: removes secrets and personal data from text that is about to be logged.

Florin's own log calls contain none. This second check is for the text of libraries: errors of the
database driver quote the parameters of a query, those of a parser quote the body.
"""

import re
import traceback
from typing import Any

GONE = "[gone]"
_SECRETS = re.compile(
    r"\b(?:flk|whsec|sk|rk|pk)_[\w.+/=-]{6,}"  # keys of Florin and of Stripe
    r"|\beyJ[\w.-]{10,}"  # JSON Web Tokens
    r"|(?i:\bbearer\s+\S+)"
    r"|\b[0-9A-Za-z]{4}(?:[- ][0-9A-Za-z]{4}){3,5}\b"  # codes of cards, and payment card numbers
    r"|\b\d{13,19}\b"
    r"|\b[\w.+-]{1,64}@[\w-]+\.[\w.]+"  # e-mail addresses; of a longer one the end
    r"|(?<=://)[^/\s@]+@"  # user and password in a URL
)
# The ways in which a library's message quotes a value.
_QUOTED = re.compile(
    r"(?<!\w)'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|=\(.*?\)(?=\W|\Z)|(?<=: )b?'.*\Z",
    re.DOTALL,
)
_FRAMES_MAX = 40
_MESSAGE_MAX = 2000  # characters; with nested quotations the cost grows with the square


def redact_secrets(text: str) -> str:
    """Remove what looks like a secret, a code or personal data."""
    return _SECRETS.sub(GONE, text)


def redact_message(text: str) -> str:
    """Remove secrets and every quoted value; for messages of libraries."""
    if len(text) > _MESSAGE_MAX:  # truncated, it could end within a quotation
        return f"[a message of {len(text)} characters]"
    return redact_secrets(_QUOTED.sub(GONE, text))


def looks_secret(text: str) -> bool:
    return _SECRETS.search(text) is not None


def redact_exception(error: BaseException | None) -> list[dict[str, Any]]:
    """An exception and its causes, the last first: type, message without quotations, and frames."""
    chain: list[dict[str, Any]] = []
    while error is not None and len(chain) < 5:  # noqa: PLR2004 -- more adds no information
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
        entry: dict[str, Any] = {
            "type": f"{type(error).__module__}.{type(error).__qualname__}",
            "message": redact_message(str(error))[:500],
            "frames": [f"{each.filename}:{each.lineno} {each.name}" for each in frames],
        }
        for name in ("sqlstate", "table_name", "constraint_name"):  # names, never values
            value: Any = getattr(error, name, None)
            if isinstance(value, str):
                entry[name] = value
        chain.append(entry)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain
