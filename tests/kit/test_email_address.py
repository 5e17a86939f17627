"""The one check of e-mail addresses: what passes, what does not, and both ways to ask agree."""

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
def test_addresses_pass(address: str) -> None:
    assert decoded(address)
    assert is_email(address)


@pytest.mark.parametrize("character", [*BREAKS, *UNSEEN, "@"])
@pytest.mark.parametrize("at", range(4))
def test_a_character_that_ends_a_line_or_is_not_seen_is_refused(character: str, at: int) -> None:
    """Wherever it is: before, inside either part, and at the very end."""
    address = (
        f"{character}anna@shop.nl",
        f"an{character}na@shop.nl",
        f"anna@sh{character}op.nl",
        f"anna@shop.nl{character}",
    )[at]
    assert not decoded(address)
    assert not is_email(address)


@pytest.mark.parametrize("address", ["", "a@", "@b", "shop.nl", "a@b@c", f"{'a' * 250}@shop.nl"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert not decoded(address)
    assert not is_email(address)


def test_two_spellings_of_an_address_are_one() -> None:
    assert normalized("Ju\u0308rgen@Shop.NL") == normalized("j\u00fcrgen@shop.nl")
