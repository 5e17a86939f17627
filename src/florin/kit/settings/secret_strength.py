"""Secret strength: what is wrong with a secret that is long enough and still no secret."""

import math
import re
from collections import Counter
from itertools import pairwise

BITS_MIN = 72  # by the frequencies of its own characters; 32 random hexadecimal ones have about 115
_PLACEHOLDERS = re.compile(
    r"change.?(me|this|it)|secret|password|passwort|example|default|placeholder|replace.|your[-_ ]|"
    r"insecure|development|dummy|sample|qwerty|letmein|x{6,}|\.{3}|…",
    re.IGNORECASE,
)
_STEPS = {-1, 0, 1}  # aaaa, abcd, 4321


def placeholder_reason(secret: str) -> str | None:
    """Say what makes it look like none; None when nothing does."""
    found = _PLACEHOLDERS.search(secret)
    return f"contains “{found.group()}”: it looks like a placeholder" if found else None


def weakness_reason(secret: str) -> str | None:
    """Say what makes it guessable; None when nothing was found."""
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
