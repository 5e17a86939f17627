"""Hosts: an invalid Host header is refused, and a valid one never changes a page."""

import re
from collections.abc import Sequence

import pytest
from litestar import Litestar

from florin.kit.openapi import page
from florin.kit.openapi.routes import ApiDocumentation
from tests.support.hostile_requests import raw
from tests.support.instance import Instance

PATHS = ("/api/v1/docs", "/api/v1/openapi.json", "/api/v1/cards", "/health/live")
GOOD = (
    b"florin", b"florin:8000", b"my_api.example", b"127.0.0.1", b"[::1]:80", b"a-b.example.:65535",
)  # fmt: skip
BAD = (
    b"", b"[", b"[::1", b"::1", b"a b", b"a/b", b"a@b", b"a:b", b"a:123456", b"a?b", b"a#b",
    b"\xff", b"<script>", b"a,b", b"a" * 300, b"[x]", b"http://a", b"%41", b"a:80:80", b":80",
)  # fmt: skip


async def _request(
    api: Instance, path: str, hosts: Sequence[bytes], version: bytes = b"1.1"
) -> tuple[int, bytes]:
    lines = [b"GET %b HTTP/%b" % (path.encode(), version), *(b"Host: " + host for host in hosts)]
    return await raw(api, b"\r\n".join([*lines, b"Connection: close", b"", b""]))


@pytest.mark.parametrize("path", PATHS)
async def test_an_invalid_host_is_refused(api: Instance, path: str) -> None:
    for hosts in (*([host] for host in BAD), (b"a", b"b"), (b"a", b"a"), ()):
        status, answer = await _request(api, path, hosts)
        assert status == 400, (hosts, answer[:300])
        assert b"application/problem+json" in answer, hosts
        assert b'"code":"bad_host"' in answer, hosts
        assert b'"param":"Host"' in answer, hosts


@pytest.mark.parametrize("path", PATHS)
async def test_a_valid_host_is_accepted(api: Instance, path: str) -> None:
    for host in GOOD:
        status, answer = await _request(api, path, [host])
        assert status == (401 if path == "/api/v1/cards" else 200), (host, answer[:300])
    assert (await _request(api, path, [], version=b"1.0"))[0] != 400


async def test_the_documentation_is_the_same_for_every_host(api: Instance) -> None:
    """The page is made once: invented hosts cost nothing, and appear on no page."""
    shown = {(await _request(api, "/api/v1/docs", [b"invented-%d" % n]))[1] for n in range(20)}
    varying = re.compile(rb"(?:x-request-id|date): [^\r]*", re.IGNORECASE)
    assert len({varying.sub(b"", answer) for answer in shown}) == 1
    assert b"invented" not in next(iter(shown))
    assert b"curl $FLORIN_URL/api/v1/cards" in next(iter(shown))


def test_the_documentation_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def page_(document: object, **_more: str) -> str:
        made.append(document)
        return "<html>"

    docs = ApiDocumentation("/api/v1", {}, None)
    monkeypatch.setattr(docs, "_document", {"paths": {}})
    monkeypatch.setattr(page, "render_page", page_)
    for _ in range(20):
        docs.page(Litestar([]))
    assert len(made) == 1
