"""OpenAPI check: every refusal that a test receives must be in the OpenAPI document.

A response hook of the test clients: it looks up each refusal in the document of its route.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

BASE = "/api/v1"
PROBLEM = "application/problem+json"
# Described for all routes in the introduction of the document, or not of a route.
EVERYWHERE = {405, 408, 431, 500}

Routes = list[tuple[str, re.Pattern[str], dict[str, set[str]]]]
_known: Routes = []


def hook(server: str) -> Callable[[httpx.Response], Awaitable[None]]:
    """A hook that raises AssertionError for a refusal that the document lacks."""

    async def check(response: httpx.Response) -> None:
        if response.request.method == "HEAD":
            return  # its body, which names the refusal, is not sent
        if response.headers.get("content-type") != PROBLEM or response.status_code in EVERYWHERE:
            return
        await response.aread()
        if not _known:
            document = await asyncio.to_thread(
                httpx.get, f"{server}{BASE}/openapi.json", timeout=30
            )
            _known[:] = _routes(document.json())
        code = response.json()["code"]
        method = response.request.method
        for name, path, codes in _known:
            if name == method and path.fullmatch(response.request.url.path):
                documented = codes.get(str(response.status_code), set())
                about = f"{method} {response.request.url.path}: {response.status_code} {code}"
                assert code in documented, f"{about} is not in the document"
                return

    return check


def _routes(document: dict[str, Any]) -> Routes:
    """The routes; those without path parameters first."""
    found: Routes = []
    for path, operations in sorted(document["paths"].items(), key=lambda each: "{" in each[0]):
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
        for method, operation in operations.items():
            codes = {
                status: set(answer["content"].get(PROBLEM, {}).get("examples", {}))
                for status, answer in operation["responses"].items()
            }
            found.append((method.upper(), pattern, codes))
    return found
