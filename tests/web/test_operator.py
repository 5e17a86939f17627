"""Operator pages on the public port: the real operator process behind an instance's sign-in."""

import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.ops.fleet.operator_folder import FACTS, MAILBOX
from florin.ops.mailbox.kept_mails import MailFolder
from tests.conftest import Urls
from tests.orders.selling import buy_in_review
from tests.support.api_calls import issue, made
from tests.support.instance import NO_TLS, Instance, Shop, instance
from tests.support.members import SignedInMember, client_of, member, register, uuid_of
from tests.support.page_client import page_client, sign_in
from tests.support.ports import free_port

HOSTILE = "<script>window.broken=1</script>"
MAIL = (
    b"From: shop@example.com\r\nTo: tomas@example.com\r\nSubject: <b>Your card</b>\r\n"
    b"Content-Type: text/html\r\n\r\n<script>top.broken=1</script><p>A card for you</p>"
)


@dataclass(frozen=True, slots=True)
class OperatorProcess:
    """The process `florin operator` at `url`, with one mail in its mailbox."""

    url: str
    mail: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def fleet_page(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    folder: Path = tmp_path_factory.mktemp("operator")
    (folder / MAILBOX).mkdir()
    mail = MailFolder(folder / MAILBOX).keep_mail("shop@example.com", ["tomas@example.com"], MAIL)
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "FLORIN_ENV": "test",
        "FLORIN_FACTS": str(folder / FACTS),
        "FLORIN_OPERATIONS_PORT": str(port),
        "DATABASE_URL": urls.app,
    }
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-P", "-m", "florin", "operator"]
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url)
        yield OperatorProcess(url, mail, process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health/live", verify=NO_TLS).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the operator process did not start")


@pytest.fixture(scope="module")
async def boss(urls: Urls) -> SignedInMember:
    """The owner of the merchant that FLORIN_OPERATORS names."""
    with instance(urls.app) as first:
        async with client_of(first) as anonymous:
            return await register(anonymous)


@pytest.fixture(scope="module")
def api(urls: Urls, fleet_page: OperatorProcess, boss: SignedInMember) -> Iterator[Instance]:
    named = {"FLORIN_OPERATORS": f"mer_{'0' * 32}, {boss.tokens['merchant']['id']}"}
    with instance(
        f"{urls.app}?connection_limit=10", FLORIN_OPERATOR_URL=fleet_page.url, **named
    ) as running:
        yield running


@pytest.fixture
async def operator(api: Instance, boss: SignedInMember) -> AsyncGenerator[httpx.AsyncClient]:
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        yield browser


async def test_an_operator_sees_the_page_of_the_operator_process(
    operator: httpx.AsyncClient, fleet_page: OperatorProcess
) -> None:
    page = await operator.get("/operator")
    assert page.status_code == 200
    assert 'href="/operator/installation"' in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    # On the operations port the same page has no links to what only instances have.
    async with httpx.AsyncClient(verify=NO_TLS) as own:
        direct = await own.get(f"{fleet_page.url}/operator")
    assert "/operator/installation" not in direct.text
    files = re.findall(r'(?:href|src)="(/operator/static/[^"]+)"', page.text)
    seen = [page, *[await operator.get(name) for name in files]]
    assert len(seen) > 3
    state = await operator.get("/operator/state")
    assert state.json()["summary"]["level"]
    stream = await operator.get("/operator/state", headers={"accept": "text/event-stream"})
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.text == "retry: 2000\nevent: state\ndata: {}\n\n"
    runbook = await operator.get("/operator/runbooks/deliveries-not-sent")
    listed = await operator.get("/operator/mailbox")
    assert "&lt;b&gt;Your card&lt;/b&gt;" in listed.text
    seen += [state, stream, runbook, listed, await operator.get("/operator/installation")]
    for answer in seen:
        assert answer.status_code == 200, answer.url
        assert answer.headers["cache-control"] == "no-store", answer.url
        assert "etag" not in answer.headers


async def test_a_mail_of_the_mailbox_stays_confined(
    operator: httpx.AsyncClient, fleet_page: OperatorProcess
) -> None:
    mail = await operator.get(f"/operator/mailbox/{fleet_page.mail}/html")
    assert "A card for you" in mail.text
    policy = mail.headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


PATHS = [
    "/operator", "/operator/", "/operator/state", "/operator/installation", "/operator/mailbox",
    "/operator/static/florin.css", "/operator/runbooks/deliveries-not-sent", "/operator/nothing",
]  # fmt: skip


async def test_everyone_else_gets_the_answer_of_what_does_not_exist(
    api: Instance, boss: SignedInMember
) -> None:
    async with client_of(api) as anonymous:
        others = [await register(anonymous)]
        others += [await member(anonymous, boss, role) for role in ("manager", "viewer", "cashier")]
    for other in others:
        async with page_client(api) as browser:
            await sign_in(browser, other.email)
            missing = _without_id(await browser.get("/no-such-page"))
            for path in PATHS:
                refused = await browser.get(path)
                assert refused.status_code == 404, (other.email, path)
                assert _without_id(refused) == missing, (other.email, path)
                assert refused.headers["cache-control"] == "no-store"
    async with page_client(api) as stranger:
        for path in PATHS:
            answer = await stranger.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/sign-in")


def _without_id(answer: httpx.Response) -> str:
    return answer.text.replace(answer.headers["x-request-id"], "")


@pytest.mark.parametrize(
    "path",
    [
        "/operator/metrics",
        "/operator/workers",
        "/operator/health/live",
        "/operator/%2e%2e/metrics",
        "/operator/static/..%2f..%2f..%2fmetrics",
        "/operator/mailbox/..%2f..%2fworkers",
        "/operator/state%3fx",
    ],
)
async def test_nothing_else_of_the_operator_process_is_reached(
    operator: httpx.AsyncClient, path: str
) -> None:
    assert (await operator.get(path)).status_code == 404


async def test_nothing_is_changed_there(operator: httpx.AsyncClient) -> None:
    for path in ("/operator", "/operator/installation", "/operator/state"):
        assert (await operator.post(path)).status_code == 405


async def test_the_installation_shows_what_the_database_knows(
    api: Instance, operator: httpx.AsyncClient, boss: SignedInMember, owner: Any
) -> None:
    merchant = uuid_of("mer", boss.tokens["merchant"]["id"])
    async with client_of(api, **boss.headers) as http:
        program = await made(
            http, "/programs",
            {"name": "A", "currency": "EUR", "min_amount": 500, "max_amount": 50_000},
        )  # fmt: skip
        shop = Shop(merchant, program["id"], "")
        recipient = {"email": "tomas@example.com"}
        await issue(http, shop, 2500, recipient=recipient, deliver={"channel": "email"})
        await buy_in_review(http, shop, 7300)
    await owner.execute("update florin.merchant set name = $2 where id = $1", merchant, HOSTILE)
    await owner.execute(
        "insert into florin.quota (merchant, name, most) values ($1, 'open_jobs', 77123)", merchant
    )
    text = (await operator.get("/operator/installation")).text
    assert "€73.00" in text
    assert "77,123" in text
    assert "E-mail" in text
    assert HOSTILE not in text
    assert "&lt;script&gt;window.broken" in text
    assert "tomas@example.com" not in text


async def test_without_the_operator_process_the_rest_is_there(
    urls: Urls, boss: SignedInMember
) -> None:
    unreachable = f"http://127.0.0.1:{free_port()}"
    for url in ("", unreachable):
        given = {"FLORIN_OPERATOR_URL": url} if url else {}
        with instance(urls.app, **given) as running:
            async with page_client(running) as browser:
                await sign_in(browser, boss.email)
                page = await browser.get("/operator")
                assert page.status_code == 200
                assert "Quotas per merchant" in page.text
                assert ("does not answer" in page.text) == bool(url)
                assert (await browser.get("/operator/state")).status_code == 404
