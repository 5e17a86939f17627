"""CSV records: files as spreadsheets and other systems write them, cut at any byte, and what the
messages say.
"""

from uuid import UUID

import pytest

from florin.cards import codes
from florin.cards.jobs.csv_records import RECORD_MAX, Record, RecordSplitter, parse_fields
from florin.cards.jobs.import_parser import COLUMNS, ImportPart, ImportReader, ProgramFacts
from florin.kit.errors import InvalidRequest

PROGRAM = UUID(int=7)
FACTS = {PROGRAM: ProgramFacts("EUR", pin=False, min_amount=1, max_amount=10**12, denominations=())}


def split(text: bytes, size: int = 1 << 20) -> tuple[list[Record], str | None]:
    """The records of a file that arrives in blocks of a size."""
    splitter = RecordSplitter(COLUMNS)
    found = list[Record]()
    for start in range(0, len(text), size):
        found += splitter.feed(text[start : start + size])
    return found + splitter.end(), splitter.separator


def read(text: str) -> ImportPart:
    found, separator = split(text.encode())
    assert separator is not None
    return ImportReader(found[0], separator, FACTS, PROGRAM).read(found[1:])


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("first", ["", "\ufeff", "sep=@\n", '\ufeff"sep=@"\n'])
def test_records_are_the_same_however_they_are_written_and_arrive(
    size: int, end: str, separator: str, first: str
) -> None:
    lines = ["amount@code", '1@"Ada', 'Li ""x""@"', "", '2@""', '3@Bo 5" tall', '"4"@"a@""@b"']
    text = (first + "\n".join(lines)).replace("@", separator).replace("\n", end)
    head = 2 if "sep" in first else 1
    found, detected = split(text.encode(), size)
    assert detected == separator
    assert [record.line - head for record in found] == [0, 1, 4, 5, 6]
    assert [parse_fields(record.text, separator) for record in found[1:]] == [
        ["1", f'Ada\nLi "x"{separator}'],
        ["2", ""],
        ["3", 'Bo 5" tall'],
        ["4", f'a{separator}"{separator}b'],
    ]


def test_a_line_break_in_a_name_is_one_space() -> None:
    part = read('amount,recipient_name\n1,"Ada \r\n\r\n  Li"\n2,Bo\n')
    assert [(row.line, row.name) for row in part.rows] == [(2, "Ada Li"), (5, "Bo")]
    assert part.count == 2


def test_rows_without_values_are_refused_and_are_no_cards() -> None:
    part = read('amount,code\n1,\n,\n , \n"",""\n\n   \n2,\n,,,\n')
    assert [row.line for row in part.rows] == [2, 8]
    assert [error.line for error in part.errors] == [3, 4, 5, 9]
    assert all("empty" in error.detail for error in part.errors)
    assert (part.count, part.empty, part.amount) == (2, 4, 3)


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ("$25.00", "amount: must be a whole number of the minor unit from 1 to 1000000000000"),
        ("$25.00", ', such as 2500 for 25.00, not "$25.00"'),
        ("25,00", 'such as 2500 for 25.00, not "25,00"'),
        ("-5", 'not "-5"'),
        ("abc", 'not "abc"'),
        ("1\n2", 'not "1\\n2"'),
        ("7.78E+15", 'amount: a spreadsheet shortened this number to "7.78E+15"; format'),
        ("7,78e15", 'shortened this number to "7,78e15"'),
        ("M4H0-0NX1-8FT6-GXMN", "not what is there"),
        ("ABCDEFGH12345678", "not what is there"),
    ],
)  # fmt: skip
def test_a_wrong_amount_is_shown_with_what_is_expected(value: str, detail: str) -> None:
    (error,) = read(f'code,amount\n,1\n,"{value}"\n').errors
    assert error.line == 3
    assert detail in error.detail


def test_messages_name_the_column_and_the_value_and_never_a_code() -> None:
    code = codes.make_code()
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    part = read(
        "amount,code,program,currency,recipient_name,recipient_email\n"
        f"1,{wrong},,,,\n1,7.78E+15,,,,\n1,,prg_1,,,\n1,,,USD,,\n1,,,,A\x1bda,\n1,,,,,a b@c\n"
        '25,00,,,,,\n1,a"b,,,,\n1,"a"b,,,,\n'
    )
    messages = {error.line: error.detail for error in part.errors}
    for line, words in (
        (2, "code: "),
        (3, "code: a spreadsheet shortened this number"),
        (4, 'program: there is no program "prg_1"'),
        (5, 'currency: must be that of the program, EUR, not "USD"'),
        (6, "recipient_name: expected: Text without line breaks"),
        (7, "recipient_email: expected: name@host"),
        (8, "there are 7 fields, not 6; a value that holds a comma must be in quotation marks"),
        (9, "code: "),
        (10, "a quotation mark is missing or in the wrong place"),
    ):
        assert words in messages[line], (line, messages[line])
    assert wrong not in str(messages)
    assert codes.show_code(wrong) not in str(messages)


@pytest.mark.parametrize(
    ("head", "words", "param"),
    [
        ("amount|code", 'line 1: "amount|code" is no column', "amount|code"),
        ("amount;saldo", 'line 1: "saldo" is no column', "saldo"),
        ("code;program", "line 1: there is no column amount", "amount"),
        ("M4H0-0NX1-8FT6-GXMN,100", "line 1: what is there is no column", None),
        (
            "sep=|\namount|code",
            "line 1: the separator that sep= names must be one of a comma",
            None,
        ),
    ],
)
def test_a_wrong_first_line_is_named(head: str, words: str, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read(f"{head}\n1\n")
    assert words in raised.value.detail
    assert raised.value.param == param
    assert "M4H0" not in str(raised.value.param)


@pytest.mark.parametrize("text", ['amount\n"1' + "\n" * RECORD_MAX, "amount\n" + "1" * RECORD_MAX])
def test_a_record_is_bounded(text: str) -> None:
    for size in (100, 1 << 20):
        with pytest.raises(InvalidRequest, match=f"line 2.*{RECORD_MAX}"):
            split(text.encode() + b"1", size)
    with pytest.raises(InvalidRequest, match="line 2: its quotation mark"):
        split(b'amount\n"1' + b"\n1" * RECORD_MAX)
