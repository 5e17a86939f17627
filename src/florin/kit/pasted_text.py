"""Pasted text: normalizes codes and numbers that are typed, pasted or scanned.

A scanner adds a line end or a tab, a document non-breaking spaces and long hyphens, a chat
invisible characters, an East Asian keyboard full-width letters and digits. None of them is part of
a code.
"""

import unicodedata

_ASCII_FILLING = str.maketrans("", "", "- \t\n\v\f\r")
# Spaces, invisible characters (zero width, byte-order mark, soft hyphen), dashes.
_FILLING = frozenset({"Zs", "Zl", "Zp", "Cf", "Pd"})
# Minus signs and look-alikes of the hyphen, which Unicode puts in other categories.
_HYPHENS = frozenset("\u2212\u2043\u02d7\u30fc\u0085")


def compacted(text: str) -> str:
    """The letters and digits alone, in ASCII where they have an ASCII form (Unicode's NFKC, and
    decimal digits of every script). Other characters are kept; the code's parser refuses them.
    """
    if text.isascii():
        return text.translate(_ASCII_FILLING)
    return "".join(map(_compacted, unicodedata.normalize("NFKC", text)))


def _compacted(symbol: str) -> str:
    if symbol.isascii():
        return symbol.translate(_ASCII_FILLING)
    if symbol in _HYPHENS or unicodedata.category(symbol) in _FILLING:
        return ""
    digit = unicodedata.decimal(symbol, None)
    return symbol if digit is None else str(digit)
