"""Paths: the rules of a path apply to every spelling of it."""

import pytest

from florin.kit.http.paths import normalized


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (b"/", "/"),
        (b"", "/"),
        (b"//", "/"),
        (b"*", "/*"),
        (b"/metrics", "/metrics"),
        (b"/metrics/", "/metrics"),
        (b"//metrics", "/metrics"),
        (b"/%6Detrics", "/metrics"),
        (b"/%6detrics%2f", "/metrics%2F"),
        (b"/api%2Fv1/cards", "/api%2Fv1/cards"),
        (b"/./api/v1/../v1//cards/.", "/api/v1/cards"),
        (b"/%2e%2e/%2E/metrics", "/metrics"),
        (b"/../../..", "/"),
        (b"/cards/caf%C3%A9", "/cards/caf\u00e9"),
        (b"/a%252Fb", "/a%2Fb"),  # not a route either
        (b"/%zz", "/%zz"),
        (b"/...", "/..."),
    ],
)
def test_a_path_is_normalized(raw: bytes, form: str) -> None:
    assert normalized(raw) == form


def test_a_normalized_path_stays_unchanged() -> None:
    for raw in (b"/api/v1/cards", b"/health/ready", b"/a%2Fb"):
        once = normalized(raw)
        assert normalized(once.encode()) == once


def test_normalizing_a_path_has_linear_cost() -> None:
    """Dropped segments are visited once; the test counts steps, not time."""
    for times in (1_000, 2_000):
        assert normalized(b"/a/.." * times + b"//" * times) == "/"
