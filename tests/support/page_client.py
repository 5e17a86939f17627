"""Page client: a client that sends forms to pages as a browser does, and keeps their cookies."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from tests.support.instance import NO_TLS, Instance
from tests.support.members import PASSWORD

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


@asynccontextmanager
async def page_client(api: Instance, **headers: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that sends what a page of this origin would send."""
    async with httpx.AsyncClient(
        base_url=api.base, headers={**SAME_ORIGIN, **headers}, timeout=60, verify=NO_TLS
    ) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> str:
    """Sign in through the page; return where it leads."""
    answer = await client.post("/sign-in", data={"email": email, "password": password})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def hidden_fields(html: str) -> dict[str, str]:
    """The first value of each hidden field of a page."""
    found: dict[str, str] = {}
    for name, value in _HIDDEN.findall(html):
        found.setdefault(name, value.replace("&amp;", "&"))
    return found
