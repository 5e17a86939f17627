"""Requests and answers: invalid fields are named, request ids are kept, and nothing is a 500."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.api_calls import Json, issue, key, made, post, problem, read, redeem, spend
from tests.support.instance import Instance, Shop

ROUTES = (
    "/redemptions", "/redemptions/batch", "/cards/lookup", "/cards", "/programs", "/refunds",
    "/holds", "/loads", "/transfers", "/adjustments", "/api-keys", "/auth/register",
)  # fmt: skip
BODIES = (
    b"", b"{", b"[]", b"1", b'"text"', b"null", b"\xff\xfe", b"{}", b'{"amount": 1e400}',
    b'{"amount": NaN}', b'{"card": "\\u0000"}', b"[" * 100_000, b'{"a":' * 50_000,
)  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
async def test_no_body_causes_an_internal_error(http: httpx.AsyncClient, path: str) -> None:
    for content in BODIES:
        answer = await http.post(path, content=content, headers=key())
        problem(answer, 422, "invalid_request")


async def test_every_invalid_field_is_named(http: httpx.AsyncClient) -> None:
    body = {"amount": "5", "currency": "eur", "metadata": {"a": 1}, "surprise": 1, "card": "x"}
    refused = problem(await post(http, "/redemptions", body), 422, "invalid_request")
    wrong = {each["param"].partition("[")[0].partition(".")[0] for each in refused["errors"]}
    assert wrong == {"amount", "currency", "metadata", "surprise"}
    assert all(each["detail"] for each in refused["errors"])
    refused = problem(
        await post(http, "/loads", {"amount": 1}), 422, "invalid_request", param="card"
    )
    assert "errors" not in refused
    nested = {"program": "x", "amount": 1, "recipient": {"email": "x"}}
    problem(await post(http, "/cards", nested), 422, "invalid_request", param="recipient.email")


async def test_metadata_has_limits(http: httpx.AsyncClient, shop: Shop) -> None:
    most = {f"key {n}": "v" * 500 for n in range(50)}
    card = await issue(http, shop, metadata=most)
    assert (await read(http, f"/cards/{card['id']}"))["metadata"] == most
    mistaken: list[Any] = [most | {"one": "more"}, {"k": "v" * 501}, {"k" * 41: ""}, {"k": None}]
    mistaken += [[], "x"]
    for wrong in mistaken:
        body: Json = {"program": shop.program, "amount": 1, "metadata": wrong}
        answer = await post(http, "/cards", body)
        refused = problem(answer, 422, "invalid_request")
        assert refused["param"].startswith("metadata")


async def test_a_request_that_is_too_large_is_refused(http: httpx.AsyncClient) -> None:
    large = b'{"card": "' + b"x" * (2 * 1024 * 1024) + b'"}'
    for path in ("/redemptions", "/redemptions/batch", "/loads"):
        problem(await http.post(path, content=large, headers=key()), 413, "too_large")


async def test_request_ids_are_kept_or_made(http: httpx.AsyncClient) -> None:
    card = f"/cards/crd_{'0' * 32}"
    for path in (card, "/nothing"):
        answer = await http.get(path, headers={"X-Request-Id": "till-7.42:x"})
        assert answer.headers["x-request-id"] == "till-7.42:x"
        assert answer.json()["request_id"] == "till-7.42:x"
    for unsound in ("a b", "x" * 129, "<x>", ""):
        answer = await http.get(card, headers={"X-Request-Id": unsound})
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
    ids = {(await http.get("/auth/me")).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


async def test_unknown_paths_and_methods_are_refused(http: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/cards/x/y/z", "/../etc/passwd", "/card%00s"):
        problem(await http.get(path), 404, "not_found")
    for method, path in (("PUT", "/cards"), ("DELETE", "/redemptions"), ("GET", "/cards/x/block")):
        answer = await http.request(method, path)
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"]
    answer = await http.head("/cards")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_writes_have_a_consistency_token(http: httpx.AsyncClient, shop: Shop) -> None:
    seen: list[tuple[int, ...]] = []
    card = await issue(http, shop, 100)
    body = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 5}
    writes = [
        await post(http, "/redemptions", spend(card, 1)),
        await post(http, "/loads", {"card": card["id"], "amount": 1}),
        await post(http, "/holds", spend(card, 1)),
        await post(http, f"/cards/{card['id']}/block"),
        await post(http, f"/cards/{card['id']}/rotate-code"),
        await post(http, "/programs", body),
        await http.patch(f"/programs/{shop.program}", json={"name": "Q"}),
        await post(http, "/api-keys", {"name": "k", "scopes": ["cards:read"]}),
    ]
    for answer in writes:
        assert answer.is_success, answer.text
        token = answer.headers["florin-consistency"]
        seen.append(tuple(int(part, 16) for part in token.split(".")[:2]))
        again = await http.get(f"/cards/{card['id']}", headers={"Florin-Consistency": token})
        assert again.status_code == 200
    assert seen == sorted(seen)


async def test_the_openapi_document_is_served(http: httpx.AsyncClient, api: Instance) -> None:
    answer = await http.get("/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    described = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, operations in document["paths"].items()
        for method in operations
    }
    for path in ROUTES:
        assert ("POST", path) in described
    shown = await http.get("/docs")
    assert shown.headers["content-type"].startswith("text/html")
    assert 'id="insufficient_funds"' in shown.text
    assert json.dumps(document).count("flk_") < 10
    assert httpx.URL(api.base).port  # neither needs credentials
    async with httpx.AsyncClient(base_url=api.base) as anonymous:
        for path in ("/api/v1/openapi.json", "/api/v1/docs"):
            assert (await anonymous.get(path)).status_code == 200


async def test_health_and_metrics_need_no_credentials(
    http: httpx.AsyncClient, api: Instance, shop: Shop
) -> None:
    card = await issue(http, shop, 100)
    await redeem(http, card, 1)
    async with httpx.AsyncClient(base_url=api.base) as anonymous:
        health = await anonymous.get("/health")
        assert health.status_code == 200
        report = health.json()
        assert (report["status"], report["checks"]["database"]) == ("healthy", True)
        assert report["uptime"] > 0
        assert abs(datetime.now(UTC) - datetime.fromisoformat(report["timestamp"])) < timedelta(
            minutes=5
        )
        for path in ("/health/live", "/health/ready"):
            assert (await anonymous.get(path)).status_code == 200
        metrics = await anonymous.get(f"{api.operations}/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    line = 'florin_http_requests_total{method="POST",route="/api/v1/redemptions",status="201"}'
    assert line in metrics.text
    assert card["id"] not in metrics.text
    assert card["code"] not in metrics.text


async def test_the_log_has_the_request_and_no_secret(
    http: httpx.AsyncClient, api: Instance, shop: Shop
) -> None:
    card = await issue(http, shop, 100)
    body = {"code": card["code"], "amount": 1, "currency": "EUR"}
    answer = await http.post("/redemptions", json=body, headers=key() | {"X-Request-Id": "logged"})
    assert answer.status_code == 201
    await http.get(f"/cards/{card['code']}")  # no client should send this, but some will
    lines: list[Json] = []
    async with asyncio.timeout(60):
        while not lines:
            text = api.log.read_text("utf-8")
            every: list[Any] = [json.loads(line) for line in text.splitlines() if line[:1] == "{"]
            lines = [line for line in every if line.get("request_id") == "logged"]
            await asyncio.sleep(0.05)
    (line,) = lines
    assert (line["route"], line["status"], line["level"]) == ("/api/v1/redemptions", 201, "info")
    for secret in (card["code"], card["code"].replace("-", ""), shop.secret):
        assert secret not in api.log.read_text("utf-8")


async def test_the_ledger_reports_over_http(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    early = await read(http, "/ledger/balances")
    assert (early["object"], early["currency"], early["liability"]) == ("balances", "EUR", 100)
    await redeem(http, card, 30)
    then = await read(http, "/ledger/balances", as_of=early["as_of"])
    assert then == early
    now = await read(http, "/ledger/balances")
    accounts = {each["account"]: each["balance"] for each in now["accounts"]}
    assert now["liability"] == 70
    assert (accounts["card"], accounts["merchant_payable"]) == (-70, -30)
    assert accounts["merchant_clearing"] == 100
    assert sum(accounts.values()) == 0
    assert (await read(http, "/ledger/balances", currency="USD"))["liability"] == 0
    for as_of in ("yesterday", "2026-01-01", "2026-01-01T00:00:00", "9999-01-01T00:00:00Z"):
        answer = await http.get("/ledger/balances", params={"as_of": as_of})
        problem(answer, 422, "invalid_request", param="as_of")
    proof = await read(http, "/ledger/proof")
    assert (proof["object"], proof["balanced"], proof["differences"]) == ("proof", True, [])
    assert (proof["cards"], proof["entries"]) == (1, 2)
    program = await made(http, "/programs", {"name": "P", "currency": "JPY", "min_amount": 1,
                                             "max_amount": 500})  # fmt: skip
    await made(http, "/cards", {"program": program["id"], "amount": 500})
    assert (await read(http, "/ledger/balances", currency="JPY"))["liability"] == 500
    assert (await read(http, "/ledger/balances"))["liability"] == 70
