"""Code: 75 random bits, all of them used, and a check symbol that tells a slip of the finger."""

import pytest

from florin.cards import codes


def test_every_symbol_comes_in_every_place_and_no_code_twice() -> None:
    made = [codes.make() for _ in range(2_000)]
    assert len(set(made)) == len(made)
    # That one of the 32 is missing in one of the places has a chance below 1e-24.
    for place in range(codes.LENGTH):
        assert {code[place] for code in made} == set(codes.ALPHABET)


def test_neighbouring_places_have_nothing_to_do_with_each_other() -> None:
    made = [codes.make() for _ in range(10_000)]
    for place in range(codes.LENGTH - 1):
        pairs = {code[place : place + 2] for code in made}
        assert len(pairs) > 1_000  # of 1,024


def test_what_was_made_is_read_and_one_wrong_symbol_is_not() -> None:
    code = codes.make()
    assert codes.read(codes.show(code).lower()) == code
    for place in range(codes.LENGTH):
        wrong = "0" if code[place] != "0" else "1"
        with pytest.raises(codes.CodeMalformed):
            codes.read(code[:place] + wrong + code[place + 1 :])
