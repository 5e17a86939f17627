"""E-mail address: the check of every address that Florin stores, shows or sends mail to.

The check is loose on purpose: only a delivered message proves an address. It refuses what two
programs may read differently: a second `@`, white space, control characters, and above all a line
break, which would end a mail header (header injection). `$` alone matches before a final line
break, hence the lookahead.
"""

import re
import unicodedata
from typing import Annotated

from msgspec import Meta

LENGTH_MAX = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
_PART = r"[^@\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff]"
PATTERN = f"^{_PART}+@{_PART}+$(?!\\n)"

Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=LENGTH_MAX,
        pattern=PATTERN,
        description="name@host, without spaces, line breaks or control characters.",
        examples=["a@shop.nl"],
    ),
]

_ADDRESS = re.compile(PATTERN)


def is_email(text: str) -> bool:
    """Whether a text is an e-mail address; for values that do not come from a JSON body."""
    return len(text) <= LENGTH_MAX and _ADDRESS.search(text) is not None


def normalized(address: str) -> str:
    """The form in which an address is stored and searched: Unicode NFC, in lower case."""
    return unicodedata.normalize("NFC", address).lower()
