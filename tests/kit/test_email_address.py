"""E-mail addresses: which are valid, and that both ways to check them agree."""

import msgspec
import pytest

from florin.kit.email_address import Email, is_email, normalized

GOOD = ["a@b", "anna.li+cards@shop.example", "jürgen@käse.example", "o'neil@shop.ie"]
BREAKS = ["\n", "\r", "\r\n", "\t", "\v", "\f", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"]
UNSEEN = [" ", "\u00a0", "\u200b", "\u202e", "\ufeff"]


def decoded(text: str) -> bool:
    try:
        msgspec.convert(text, Email)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("address", GOOD)
def test_valid_addresses_are_accepted(address: str) -> None:
    assert decoded(address)
    assert is_email(address)


@pytest.mark.parametrize("character", [*BREAKS, *UNSEEN, "@"])
@pytest.mark.parametrize("at", range(4))
def test_line_breaks_and_invisible_characters_are_refused(character: str, at: int) -> None:
    """At the start, inside either part, and at the end."""
    address = (
        f"{character}anna@shop.nl",
        f"an{character}na@shop.nl",
        f"anna@sh{character}op.nl",
        f"anna@shop.nl{character}",
    )[at]
    assert not decoded(address)
    assert not is_email(address)


@pytest.mark.parametrize("address", ["", "a@", "@b", "shop.nl", "a@b@c", f"{'a' * 250}@shop.nl"])
def test_invalid_addresses_are_refused(address: str) -> None:
    assert not decoded(address)
    assert not is_email(address)


def test_two_spellings_of_an_address_are_equal() -> None:
    assert normalized("Ju\u0308rgen@Shop.NL") == normalized("j\u00fcrgen@shop.nl")
