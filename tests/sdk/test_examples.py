"""Examples: the Python of the documentation runs, block after block, against a running API."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from florin_client.testing import new_webhook_secret, signed_webhook
from tests.support.instance import Instance, Shop
from tests.support.workers import Crew

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    return _BLOCK.findall(page.read_text("utf-8"))


@pytest.mark.slow
async def test_the_examples_run(api: Instance, shop: Shop, workers: Crew, tmp_path: Path) -> None:
    workers.start()
    pages = [page for page in sorted((DOCS / "api").glob("*.md")) if blocks(page)]
    assert {page.name for page in pages} >= {"python.md", "webhooks.md"}
    assert len(blocks(DOCS / "api/python.md")) >= 8
    for page in pages:
        names = given(api, shop, tmp_path)
        for number, block in enumerate(blocks(page), 1):
            code = compile(block, f"{page.name}, block {number}", "exec")
            await asyncio.to_thread(exec, code, names)


def given(api: Instance, shop: Shop, folder: Path) -> dict[str, Any]:
    """The names that the examples take for granted."""
    secret = new_webhook_secret()
    event: dict[str, Any] = {
        "id": "evt_1",
        "object": "event",
        "type": "card.redeemed",
        "created_at": "2026-12-01T00:00:00Z",
        "sequence": 1,
        "data": {"object": {}},
    }
    body, headers = signed_webhook(event, secret)
    return {
        "url": api.base,
        "key": shop.secret,
        "program": shop.program,
        "folder": folder,
        "secret": secret,
        "body": body,
        "headers": headers,
    }
