"""Linear cost: four times as much input costs about four times as much, and input that is larger
than any valid request is refused before it is parsed.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from florin.cards import codes
from florin.cards.jobs.csv_records import RecordSplitter, split_records
from florin.cards.jobs.import_parser import CHUNK, COLUMNS, ImportReader, ProgramFacts
from florin.cards.requests import BatchRequest, CardRequest, RedemptionRequest
from florin.kit import ids
from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.http import json_limits, static_files
from florin.kit.http.body import decode_body, decode_items
from florin.kit.http.client_address import TrustedProxies
from florin.kit.http.compression import accepts_gzip
from florin.kit.http.field_errors import find_nul_field
from florin.kit.http.head_checks import QUERY_PARAMETERS_MAX, check_head
from florin.kit.observability import redaction
from florin.kit.timestamps import parse_instant
from tests.support.growth import assert_linear

_redemption = msgspec.json.Decoder(RedemptionRequest)
_card = msgspec.json.Decoder(CardRequest)
_batch = msgspec.json.Decoder(BatchRequest)
PROGRAM = UUID(int=1)


def _refused(work: Callable[[Any], object]) -> Callable[[Any], None]:
    def attempt(given: Any) -> None:
        with contextlib.suppress(Refusal):
            work(given)

    return attempt


def _names(count: int, *, twice: bool) -> bytes:
    names = [f'"{n:x}":1' for n in range(count)]
    return "{{{}}}".format(",".join([*names, names[-1]] if twice else names)).encode()


def _read_batch(body: bytes) -> None:
    for item in decode_items(_batch, body, name="redemptions", most=1000):
        _refused(lambda raw: decode_body(_redemption, raw))(bytes(item))


def _batch_of(item: bytes, count: int = 1) -> bytes:
    return b'{"redemptions":[' + b",".join([item] * count) + b"]}"


BODIES: dict[str, Callable[[int], bytes]] = {
    "names": lambda n: _names(n, twice=False),
    "a name twice": lambda n: _names(n, twice=True),
    "one name": lambda n: b'{"' + b"n" * 10 * n + b'":1}',
    "pairs of metadata": lambda n: b'{"metadata":' + _names(n, twice=True) + b"}",
    "numbers": lambda n: b'{"code":[' + b"1," * n + b"1]}",
    "digits": lambda n: b'{"amount":' + b"9" * 10 * n + b"}",
    "digits behind a point": lambda n: b'{"amount":1.' + b"9" * 10 * n + b"}",
    "nested lists": lambda n: b"[" * n + b"]" * n,
    "nested objects": lambda n: b'{"a":' * n + b"1" + b"}" * n,
    "objects": lambda n: b'{"code":[' + b"{}," * n + b"{}]}",
    "texts": lambda n: b'{"code":[' + b'"",' * n + b'""]}',
    "escapes": lambda n: b'{"code":"' + b'\\"' * n + b'"}',
    "open text": lambda n: b'{"code":"' + b'\\"' * n,
    "backslashes": lambda n: b'{"code":"' + b"\\\\" * n + b'\\u0000"}',
    "colons": lambda n: b'{"code":"' + b":" * n + b'"}',
    "white space": lambda n: b'{"code":' + b" " * 10 * n + b'"x"}',
    "U+0000 behind a long name": lambda n: (
        b'{"' + b"n" * 5 * n + b'":[' + b"1," * 5 * n + b'"\\u0000"]}'
    ),
    "U+0000 within": lambda n: b'{"metadata":' + _names(n, twice=False)[:-1] + b',"a":"\\u0000"}}',
}


@pytest.mark.parametrize("shape", BODIES)
def test_bodies(shape: str) -> None:
    assert_linear(_refused(lambda body: decode_body(_redemption, body)), BODIES[shape], 4000)
    assert_linear(_refused(lambda body: decode_body(_card, body)), BODIES[shape], 4000)


@pytest.mark.parametrize("shape", BODIES)
def test_items_of_a_batch(shape: str) -> None:
    assert_linear(_refused(_read_batch), lambda n: _batch_of(BODIES[shape](n)), 4000)
    assert_linear(_refused(_read_batch), lambda n: _batch_of(BODIES[shape](50), n), 100)


def test_a_duplicate_name_is_found_in_one_pass() -> None:
    check = _refused(json_limits.check_names)
    assert_linear(check, lambda n: _names(n, twice=True).decode(), 4000)
    assert_linear(check, lambda n: _names(n, twice=False).decode(), 4000)


def test_each_check_of_a_body_has_linear_cost() -> None:
    """Each check alone: within a request the limits before it leave it little work."""
    assert_linear(find_nul_field, BODIES["U+0000 behind a long name"], 2000)
    for make in BODIES.values():
        assert_linear(_refused(json_limits.check_shape), make, 8000)


def test_a_body_has_a_bounded_number_of_names_objects_and_lists() -> None:
    most = json_limits.NAMES_MAX
    for body, says in (
        (_names(most + 1, twice=True), "names"),
        (b'{"metadata":' + _names(most, twice=False) + b"}", "names"),
        (b'{"code":[' + b"{}," * 70 + b"[]]}", "objects and lists"),
        (b"[" * json_limits.CONTAINERS_MAX + b"[", "objects and lists"),
    ):
        with pytest.raises(InvalidRequest, match=f"more than .* {says}"):
            decode_body(_redemption, body)


def test_content_of_strings_is_not_counted() -> None:
    text = r"""{"a\\": [{"b": "c\"{:"}]}\\""" * 15  # brackets, colons, quotes, backslashes
    metadata = {f"{n} {text[:30]}": text for n in range(50)}
    body = json.dumps({"amount": 1, "currency": "EUR", "card": "crd_1", "metadata": metadata})
    assert body.count(":") > json_limits.NAMES_MAX
    assert body.count("{") > json_limits.CONTAINERS_MAX
    assert decode_body(_redemption, body.encode()).metadata == metadata


def test_a_list_is_parsed_once_and_only_if_its_name_is_known() -> None:
    for body in (
        b'{"redemptions":[1],"redemptions":[1]}',
        b'{"redemptions":[1],"\\u0072edemptions":[2]}',
        b'{"redemptions":[1],"other":[2]}',
        b'{"redemptions":"redemptions"}',
        b'{"redemptions":{}}',
        b'{"redemptions":[]}',
        b"{}",
        b'{"redemptions":[1]}x',
    ):
        with pytest.raises(InvalidRequest):
            decode_items(_batch, body, name="redemptions", most=10)
    found = decode_items(
        _batch, b' { "redemptions" : [ 1, {"a":[]} ] } ', name="redemptions", most=2
    )
    assert [bytes(each) for each in found] == [b"1", b'{"a":[]}']
    with pytest.raises(InvalidRequest, match="must have 1 to 1 items, not 2"):
        decode_items(_batch, b'{"redemptions":[1,2]}', name="redemptions", most=1)


def _head(headers: list[tuple[bytes, bytes]], query: bytes = b"") -> dict[str, Any]:
    headers = [(b"host", b"florin"), *headers]
    return {"headers": headers, "query_string": query, "http_version": "1.1"}


HEADS: dict[str, Callable[[int], dict[str, Any]]] = {
    "headers": lambda n: _head([(f"x-{i}".encode(), b"") for i in range(n)]),
    "a header again and again": lambda n: _head([(b"x-a", b"")] * n),
    "parameters": lambda n: _head([], b"&".join(b"p%d" % i for i in range(n))),
    "separators": lambda n: _head([], b"&" * n),
    "escapes": lambda n: _head([], b"&" * 64 + b"%41" * n),
    "a long host": lambda n: {**_head([]), "headers": [(b"host", b"a." * n)]},
}


@pytest.mark.parametrize("shape", HEADS)
def test_heads(shape: str) -> None:
    assert_linear(_refused(check_head), HEADS[shape], 2000)


def test_a_query_has_a_bounded_number_of_parameters() -> None:
    names = [f"metadata%5Ba{n}%5D=1" for n in range(QUERY_PARAMETERS_MAX + 1)]
    check_head(_head([], "&".join(names[:-1]).encode()))
    with pytest.raises(InvalidRequest) as caught:
        check_head(_head([], "&".join(names).encode()))
    assert caught.value.param == f"metadata[a{QUERY_PARAMETERS_MAX}]"


TEXTS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "Accept-Encoding": (accepts_gzip, ("gzip ", " ", ", ", "gzip;q=0.", "gzip;q=0.0 ", "0")),
    "If-None-Match": (lambda text: static_files.has_tag(text, '"x"'), ('"a",', ",", " ")),
    "an instant": (lambda text: parse_instant(text, param="x"), ("2", "2026-01-01T00:00:00.", " ")),
    "an id": (lambda text: ids.parse_id("crd", text), ("crd_", "a")),
    "a code": (codes.read_code, ("A", " ", "-")),
    "a message in the log": (redaction.redact_message, ("'", "'\\", "=(", "a.", "a@", "`")),
    "a line in the log": (
        redaction.redact_secrets,
        ("a.", "a@", "a@a.", "://", "bearer ", "eyJ", "1234 "),
    ),
}


@pytest.mark.parametrize("what", TEXTS)
def test_texts(what: str) -> None:
    read, parts = TEXTS[what]
    for part in parts:
        for begins, ends in (("", ""), ("gzip", "x"), ("2026-01-01T00:00:00.", "Z"), ("'", "x")):
            assert_linear(
                _refused(read),
                lambda n, part=part, begins=begins, ends=ends: begins + part * n + ends,
                2000,
            )


def test_hops() -> None:
    def ask(forwarded: bytes) -> None:
        scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", forwarded)] * 3}
        TrustedProxies(["10.0.0.0/8"]).client_address(scope)

    assert_linear(ask, lambda n: b"10.0.0.2," * n, 500)
    assert_linear(ask, lambda n: b"," * n, 500)


FILES: dict[str, Callable[[int], bytes]] = {
    "lines": lambda n: b"amount\n" + b"5\n" * n,
    "wrong lines": lambda n: b"amount\n" + b"x,y\n" * n,
    "line breaks": lambda n: b"amount\n" + b"\n" * n,
    "columns": lambda n: b"amount," * min(n, 1100) + b"\n" + b"5\n" * n,
    "fields": lambda n: b"amount\n" + (b"," * 500 + b"\n") * (n // 50),
    "quotation marks": lambda n: b"amount\n" + (b'"' * 501 + b"\n") * (n // 50),
    "quoted lines": lambda n: b"amount\n" + b'"\n' * n,
    "short quotations": lambda n: b"amount,code\n" + (b',"a' * 500 + b'"\n') * (n // 50),
    "carriage returns": lambda n: b"amount\r" + b"5\r\r\n" * n,
    "one line": lambda n: b"amount\n" + b"5" * n,
}


@pytest.mark.parametrize("shape", FILES)
@pytest.mark.parametrize("block", [100, 65_536])
def test_files(shape: str, block: int) -> None:
    async def blocks(file: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(file), block):
            yield file[start : start + block]

    async def read(file: bytes) -> None:
        reader: ImportReader | None = None
        splitter = RecordSplitter(COLUMNS)
        async for these in split_records(blocks(file), splitter, CHUNK):
            if reader is None:
                facts = ProgramFacts("EUR", pin=False, min_amount=1, max_amount=9, denominations=())
                separator = splitter.separator or ","
                reader = ImportReader(these[0], separator, {PROGRAM: facts}, PROGRAM)
            reader.read(these)

    assert_linear(_refused(lambda file: asyncio.run(read(file))), FILES[shape], 2000)


def test_no_message_is_truncated_inside_a_quotation() -> None:
    long = redaction.redact_message("it says 'secret" + "x" * 3000)
    assert re.fullmatch(r"\[a message of \d+ characters\]", long)
