"""What Schemathesis and others found, kept."""

import httpx
import pytest


@pytest.mark.parametrize("value", ["null", "NULL", "Null"])
async def test_null_is_no_filter(http: httpx.AsyncClient, value: str) -> None:
    """The framework took it for a filter left out, and everything was listed."""
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
