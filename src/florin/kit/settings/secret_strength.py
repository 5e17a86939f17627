"""Secret strength: finds weak secrets that are long enough: placeholders, repetition, sequences."""

import math
import re
from collections import Counter
from itertools import pairwise

BITS_MIN = 72  # entropy by character frequency; 32 random hexadecimal characters have about 115
_PLACEHOLDERS = re.compile(
    r"change.?(me|this|it)|secret|password|passwort|example|default|placeholder|replace.|your[-_ ]|"
    r"insecure|development|dummy|sample|qwerty|letmein|x{6,}|\.{3}|…",
    re.IGNORECASE,
)
_STEPS = {-1, 0, 1}  # aaaa, abcd, 4321


def placeholder_reason(secret: str) -> str | None:
    """The reason why it looks like a placeholder, or None."""
    match = _PLACEHOLDERS.search(secret)
    return f"contains “{match.group()}”: it looks like a placeholder" if match else None


def weakness_reason(secret: str) -> str | None:
    """The reason why it is guessable, or None."""
    if why := placeholder_reason(secret):
        return why
    if secret in (secret + secret)[1:-1]:
        return "repeats itself"
    steps = sum(ord(b) - ord(a) in _STEPS for a, b in pairwise(secret))
    if steps > len(secret) / 2:
        return "is a sequence"
    counts = Counter(secret).values()
    bits = sum(n * math.log2(len(secret) / n) for n in counts)
    return None if bits >= BITS_MIN else "has too few different characters"
