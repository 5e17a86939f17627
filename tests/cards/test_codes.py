"""Codes: 75 random bits, all of them used, and a check symbol that detects typing mistakes."""

import pytest

from florin.cards import codes


def test_every_symbol_occurs_in_every_position_and_no_code_twice() -> None:
    made = [codes.make_code() for _ in range(2_000)]
    assert len(set(made)) == len(made)
    # The probability that a symbol is missing in a position is below 1e-24.
    for place in range(codes.LENGTH):
        assert {code[place] for code in made} == set(codes.ALPHABET)


def test_neighbouring_symbols_are_independent() -> None:
    made = [codes.make_code() for _ in range(10_000)]
    for place in range(codes.LENGTH - 1):
        pairs = {code[place : place + 2] for code in made}
        assert len(pairs) > 1_000  # of 1,024


def test_a_new_code_is_valid_and_one_wrong_symbol_makes_it_malformed() -> None:
    code = codes.make_code()
    assert codes.read_code(codes.show_code(code).lower()) == code
    for place in range(codes.LENGTH):
        wrong = "0" if code[place] != "0" else "1"
        with pytest.raises(codes.CodeMalformed):
            codes.read_code(code[:place] + wrong + code[place + 1 :])


FULL_WIDTH = {ord(symbol): ord(symbol) + 0xFEE0 for symbol in map(chr, range(0x21, 0x7F))}
FILLING = (
    "\r", "\n", "\r\n", "\t", "\v", "\f", "\u00a0", "\u2007", "\u202f", "\u3000", "\u200b",
    "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u2028", "\u0085", "-", "\u2010",
    "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212", "\uff0d", "\ufe63", "\u30fc",
    "\uff70",
)  # fmt: skip


@pytest.mark.parametrize("filling", FILLING, ids=ascii)
def test_a_pasted_or_scanned_code_is_accepted(filling: str) -> None:
    code = codes.make_code()
    groups = [code[at : at + 4] for at in range(0, codes.LENGTH, 4)]
    for spelled in (f"{code}{filling}", f"{filling}{code}", filling.join(groups)):
        for wide in (spelled, spelled.translate(FULL_WIDTH), spelled.lower().translate(FULL_WIDTH)):
            assert codes.read_code(wide) == code, ascii(wide)
    assert codes.read_code(code.replace("0", "O").replace("1", "l").translate(FULL_WIDTH)) == code


def test_digits_of_other_scripts_are_digits() -> None:
    code = "4827-1093-5561-7230".replace("-", "")
    for check in codes.ALPHABET:  # one of them is right
        try:
            right = codes.read_code(code[:-1] + check)
            break
        except codes.CodeMalformed:
            continue
    else:
        pytest.fail("no check symbol is right")
    digits = {ord(str(n)): 0x0660 + n for n in range(10)}
    assert codes.read_code(right.translate(digits)) == right


def test_a_malformed_code_is_refused_with_the_reason() -> None:
    code = codes.make_code()
    for wrong, said in (
        (f"{code}#", "16"), (f"{code[:-1]}", "not 15"), ("", "not 0"),
        (f"\u00e9{code[1:]}", "symbols"),
        (f"{code[:-1]}U", "symbols"), (f"{code[:-1]}\x1d", "symbols"), ("x" * 65, "not 65"),
        (f"{code}\U0001f381", "not 17"), ("\ufdfa" * 64, "16"),
    ):  # fmt: skip
        with pytest.raises(codes.CodeMalformed) as malformed:
            codes.read_code(wrong)
        assert said in malformed.value.detail, ascii(wrong)
        assert code[:8] not in malformed.value.detail
