"""Codes: the secret on a card. 75 random bits and a check symbol, in four groups of four.

Symbols are Crockford's base32 (no I, L, O, U). Parsing ignores case, spaces, hyphens and characters
that a scanner or a document adds, and reads O as 0, I and L as 1. The last symbol is a weighted sum
over GF(32) with a different non-zero weight for every position: it detects any single wrong symbol
and any two exchanged symbols before a code is looked up.
"""

import secrets
from uuid import UUID

from florin.kit.encryption import keyed_hash
from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.pasted_text import compacted

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 16
RANDOM_SYMBOLS = LENGTH - 1
_SYMBOL_BITS, _SYMBOL_MAX = 5, 31
_TYPED_MAX = 64
IMPORTED_LEAST = 6

_VALUE = {symbol: value for value, symbol in enumerate(ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_LAST = 4


class CodeMalformed(Refusal):
    """This is not a valid card code: check it for a typing mistake."""

    code = "code_malformed"
    status = 422


def _powers() -> tuple[int, ...]:
    """The powers of the generator 2 of GF(32), modulo x^5 + x^2 + 1."""
    powers: list[int] = []
    value = 1
    for _ in range(LENGTH):
        powers.append(value)
        value <<= 1
        if value & 32:
            value ^= 0b100101
    return tuple(powers)


def _products() -> tuple[tuple[int, ...], ...]:
    """products[position][symbol] = weight of the position times the symbol, over GF(32)."""
    table: list[tuple[int, ...]] = []
    for weight in _powers()[1:]:
        row: list[int] = []
        for symbol in range(32):
            product, factor = 0, weight
            for bit in range(5):
                if symbol >> bit & 1:
                    product ^= factor
                factor <<= 1
                if factor & 32:
                    factor ^= 0b100101
            row.append(product)
        table.append(tuple(row))
    return tuple(table)


_PRODUCTS = _products()


def make_code() -> str:
    """Make a random code: 16 symbols without hyphens."""
    # All bits at once: one call to the system for each symbol would cost ten times as much.
    random = secrets.randbits(_SYMBOL_BITS * RANDOM_SYMBOLS)
    values = [random >> _SYMBOL_BITS * n & _SYMBOL_MAX for n in range(RANDOM_SYMBOLS)]
    return "".join(ALPHABET[value] for value in (*values, _check(values)))


def read_code(typed: str) -> str:
    """Parse a typed code; return its 16 symbols. Raises CodeMalformed."""
    symbols = compacted(typed).upper() if len(typed) <= _TYPED_MAX else typed
    if len(symbols) != LENGTH:
        raise CodeMalformed(
            f"a code has {LENGTH} letters and digits, not {len(symbols)}", param="code"
        )
    try:
        values = [_VALUE[symbol] for symbol in symbols]
    except KeyError:
        raise CodeMalformed(f"a code has only the symbols {ALPHABET}", param="code") from None
    if _check(values[:RANDOM_SYMBOLS]) != values[-1]:
        raise CodeMalformed(param="code")
    return "".join(ALPHABET[value] for value in values)


def read_any_code(typed: str, *, imported: bool) -> str:
    """Parse a code of Florin or, where `imported`, of another system: 6 to 64 letters and digits,
    without a check symbol, compared without case, spaces and hyphens. Raises CodeMalformed.
    """
    try:
        return read_code(typed)
    except CodeMalformed:
        if not imported:
            raise
    symbols = compacted(typed).upper() if len(typed) <= 2 * _TYPED_MAX else typed
    if not IMPORTED_LEAST <= len(symbols) <= _TYPED_MAX:
        detail = (
            f"a code has {IMPORTED_LEAST} to {_TYPED_MAX} letters and digits, not {len(symbols)}"
        )
        raise CodeMalformed(detail, param="code")
    if not (symbols.isascii() and symbols.isalnum()):
        raise CodeMalformed("a code has only letters and digits", param="code")
    return symbols


def is_own(code: str) -> bool:
    """Whether a parsed code has the form of Florin's."""
    try:
        return read_code(code) == code
    except CodeMalformed:
        return False


def read_last4(typed: str) -> str:
    """Parse the last four symbols of a code, as they are stored. Raises InvalidRequest."""
    symbols = compacted(typed).upper()
    if len(symbols) != _LAST or not (symbols.isascii() and symbols.isalnum()):
        detail = "last4 must be the last four letters and digits of the code, such as GXMN"
        raise InvalidRequest(detail, param="last4")
    return "".join(ALPHABET[_VALUE[symbol]] if symbol in _VALUE else symbol for symbol in symbols)


def show_code(code: str) -> str:
    """Format a code as printed: four groups of four symbols. A code of another system stays."""
    if len(code) != LENGTH or not is_own(code):
        return code
    return "-".join(code[start : start + 4] for start in range(0, LENGTH, 4))


def code_hash(pepper: bytes, merchant: UUID, code: str) -> bytes:
    """The keyed hash by which a card is looked up; it is bound to its merchant."""
    return keyed_hash(pepper, merchant.bytes + code.encode())


def _check(values: list[int]) -> int:
    check = 0
    for position, value in enumerate(values):
        check ^= _PRODUCTS[position][value]
    return check
