"""The documentation page, in a real browser if one is installed."""

import re
import shutil
import subprocess

import httpx
import pytest

from tests.support.instance import Instance

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


def test_every_route_and_every_refusal_is_on_the_page(api: Instance) -> None:
    page = httpx.get(f"{api.base}/api/v1/docs")
    document = httpx.get(f"{api.base}/api/v1/openapi.json").json()
    assert page.status_code == 200
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page.text
    anchors = set(re.findall(r'<tr id="(\w+)">', page.text))
    shown = set(re.findall(r'href="#([a-z0-9_]+)"><code>', page.text))
    assert shown <= anchors
    assert {"insufficient_funds", "overloaded", "internal_error"} <= anchors


def test_the_page_loads_nothing_from_other_hosts(api: Instance) -> None:
    page = httpx.get(f"{api.base}/api/v1/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.findall(r"<(?:script|img|iframe|style)\b", page.text)
    assert "style=" not in page.text
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)


def test_a_problem_links_to_its_refusal(api: Instance) -> None:
    problem = httpx.get(f"{api.base}/api/v1/cards").json()
    page, _, anchor = problem["type"].partition("#")
    assert f'id="{anchor}"' in httpx.get(f"{api.base}{page}").text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_renders_the_page(api: Instance) -> None:
    assert CHROMIUM is not None
    shown = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"{api.base}/api/v1/docs"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert '<h3><a href="#post-api-v1-redemptions">Redeem</a></h3>' in shown
