"""Plain text: which text is valid, its stored form, and every pattern in the source."""

import ast
import importlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import pytest
from msgspec import Meta
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

import florin
from florin.kit import plain_text
from florin.kit.http.body import LongText, MetadataKey, MetadataValue, Request, Text
from tests.kit.test_email_address import BREAKS

SOURCES = Path(florin.__path__[0])
CONTROL = [*BREAKS, "\x08", "\x9f"]
NFD, NFC = "Zoe\u0308", "Zo\u00eb"
# A value that matches each pattern of the source.
FITTING = {
    plain_text.PATTERN: "Ada",
    plain_text.VALUE_PATTERN: "Ada",
    "PATTERN": "a@shop.nl",
    "^[A-Z]{3}$": "EUR",
    "^[A-Z]{2}$": "NL",
    r"^[A-Z]{2}$(?!\n)": "DE",
    r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$(?!\n)": "US-CA",
    r"^s3://[a-z0-9][a-z0-9.-]+(/\S*)?$": "s3://bucket/path",
    r"^(aws|gcp|azure):\S+$": "aws:one",
    r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$": "2026-12-24T09:00",
    r"^https?://[^\s\x00-\x20]+$(?!\n)": "https://shop.example/back",
    r"^(test|stripe|paypal|gtw_[0-9a-f]{32})$(?!\n)": "test",
    r"^[!-~]+$(?!\n)": "whsec_12345678",
    r"^(sk|rk)_(live|test)_[!-~]+$(?!\n)": "sk_test_12345678",
    r"^[a-z0-9]+(-[a-z0-9]+)*$(?!\n)": "harbour-rye",
    r"^#[0-9A-Fa-f]{6}$(?!\n)": "#1D3B5C",
    r"^data:image/[a-z]+;base64,[A-Za-z0-9+/=]+$(?!\n)": "data:image/png;base64,iVBORw0KGgo=",
    r"^(\*|[a-z][a-z_]*\.(\*|[a-z][a-z_]*))$(?!\n)": "card.issued",
    r"^[0-9+(][0-9 ()./-]*$(?!\n)": "+49 1512 3456789",
    r"^AC[0-9a-f]{32}$": "AC" + "0" * 32,
    r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)": "de-AT",
}
# Fields of requests that are not plain text; their parsers refuse invalid values.
READ_OTHERWISE = {
    "token", "mfa_token", "password", "current_password", "new_password", "code", "pin",
    "program", "card", "redemption", "from_", "to", "idempotency_key", "refresh_token", "scopes",
    "role", "country", "currency", "email", "metadata", "at", "locale", "gateway", "return_url",
    "phone", "events", "merchant", "places", "recipients", "slug", "card_color", "line_color",
    "logo", "provider", "secret_key", "webhook_secret", "client_id", "client_secret", "webhook_id",
}  # fmt: skip


class Named(Request, kw_only=True):
    name: Text
    reason: LongText | None = None
    pairs: dict[MetadataKey, MetadataValue] | None = None


def fits(text: str, kind: Any) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", [Text, LongText, MetadataKey])
@pytest.mark.parametrize("character", CONTROL)
def test_control_characters_are_refused_in_any_position(kind: Any, character: str) -> None:
    assert fits("Ada Li", kind)
    for text in (f"{character}Ada", f"A{character}da", f"Ada{character}", character):
        assert not fits(text, kind), repr(text)


@pytest.mark.parametrize("text", ["", " ", "\u00a0 \u3000"])
def test_invisible_text_is_refused(text: str) -> None:
    assert not fits(text, Text)


@pytest.mark.parametrize(
    "text", ["Ada", " \u00a0Ada", "李 愛", "O'Neil \u202bעדה\u202c", "👩\u200d💻"]
)
def test_text_of_every_script_is_accepted(text: str) -> None:
    assert fits(text, Text)


def test_metadata_values_keep_line_breaks_and_no_other_control_characters() -> None:
    for text in ("", "one\r\ntwo\n", "\t", "a\u2028b"):
        assert fits(text, MetadataValue)
    for text in ("\x00", "a\x1b", "\x7f\n", "\x85"):
        assert not fits(text, MetadataValue)


def test_a_request_holds_normalized_text() -> None:
    """Normalised at parsing, so that the fingerprint, the stored text and searches agree."""
    body = {"name": f" \u00a0{NFD}  ", "reason": f"{NFD} ", "pairs": {NFD: f" {NFD} "}}
    want = msgspec.json.decode(msgspec.json.encode(body), type=Named)
    assert (want.name, want.reason, want.pairs) == (NFC, NFC, {NFD: f" {NFD} "})
    assert plain_text.clean_filter(f" {NFD}") == NFC
    assert plain_text.clean_filter(None) is None


def test_text_that_nfc_makes_too_long_is_stored_as_sent() -> None:
    longest = "\u0958" * 255  # NFC has two characters for each
    want = msgspec.convert({"name": longest}, Named)
    assert want.name == longest
    assert msgspec.convert({"name": longest[:100]}, Named).name == "\u0915\u093c" * 100


# Modules that are imported here for the first time warn about the framework.
imports = pytest.mark.filterwarnings("ignore")


def sources() -> Iterator[tuple[str, str]]:
    """Each module's name and text."""
    for path in sorted(SOURCES.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCES.parent).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path.read_text("utf-8")


def calls(text: str) -> Iterator[ast.Call]:
    yield from (each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Call))


def written(call: ast.Call, keyword: str) -> str | None:
    """The text of a keyword argument: the value of a literal, else the expression."""
    node = next((each.value for each in call.keywords if each.arg == keyword), None)
    if node is None:
        return None
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def passes(made: Any, text: str) -> bool:
    """Whether a pattern that a call in the source makes accepts this text."""
    if isinstance(made, FieldInfo):
        try:
            TypeAdapter(Annotated[str, made]).validate_python(text)
        except ValidationError:
            return False
        return True
    meta = (
        made if isinstance(made, Meta) else Meta(pattern=made.pattern, max_length=made.max_length)
    )
    return fits(text, Annotated[str, meta])


@imports
def test_no_pattern_of_the_source_accepts_a_final_line_break() -> None:
    """`$` matches before a final line break as well, in Python's `re`, which msgspec uses."""
    seen = set[str]()
    for name, text in sources():
        for call in calls(text) if "pattern=" in text else ():
            pattern = written(call, "pattern")
            if pattern is None:
                continue
            names = vars(importlib.import_module(name))
            made: Any = eval(compile(ast.Expression(call), "<source>", "eval"), names)  # noqa: S307 -- our own source
            if isinstance(made, partial):
                made = Meta(**made.keywords)
            key = pattern if pattern in FITTING else str(made.pattern)
            assert key in FITTING, f"{name}: add a value that fits {pattern}"
            seen.add(key)
            assert passes(made, FITTING[key]), (name, pattern)
            for end in ("\n", "\r\n", "\n\n"):
                if key != plain_text.VALUE_PATTERN:
                    assert not passes(made, FITTING[key] + end), (name, pattern)
    assert seen == set(FITTING)


def test_no_regular_expression_of_the_source_ends_in_a_dollar_sign() -> None:
    r"""`\Z` is the end; `$` is allowed only in documented patterns, which the test above checks."""
    found = list[str]()
    for name, text in sources():
        for call in calls(text):
            if ast.unparse(call.func).startswith("re.") and isinstance(call.args[0], ast.Constant):
                pattern = str(call.args[0].value).replace(r"\$", "")
                if "$" in pattern and "re.MULTILINE" not in ast.unparse(call):
                    found.append(f"{name}: {pattern}")
    assert found == []


def kinds(base: type[Request]) -> Iterator[type[Request]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("florin."):
            yield kind
        yield from kinds(kind)


def holds_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return False
    return kind is str or any(holds_text(each) for each in get_args(kind))


@imports
def test_every_text_of_a_request_has_the_rule() -> None:
    for name, text in sources():
        if "Request" in text and not name.endswith("__main__"):
            importlib.import_module(name)
    without = {
        f"{kind.__name__}.{field.name}"
        for kind in kinds(Request)
        for field in msgspec.structs.fields(kind)
        if holds_text(field.type)
        and field.name not in READ_OTHERWISE
        and field.name not in dict(plain_text.text_fields(kind))
    }
    assert without == set()
