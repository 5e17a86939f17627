"""Regression tests of errors that Schemathesis and others found."""

import httpx
import pytest


@pytest.mark.parametrize("value", ["null", "NULL", "Null"])
async def test_null_is_no_filter(http: httpx.AsyncClient, value: str) -> None:
    """The framework treated the parameter as missing and listed everything."""
    for path, name in (("/cards", "state"), ("/holds", "state"), ("/cards", "limit")):
        answer = await http.get(path, params={name: value})
        assert answer.status_code == 422, (path, answer.text)
        assert answer.json()["param"] == name


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/refunds", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/merchant", {"GET", "HEAD", "OPTIONS", "PATCH"}),
        ("/cards/lookup", {"OPTIONS", "POST"}),
    ],
)
async def test_options_names_every_method(
    http: httpx.AsyncClient, path: str, methods: set[str]
) -> None:
    answer = await http.options(path)
    assert set(answer.headers["allow"].split(", ")) == methods
