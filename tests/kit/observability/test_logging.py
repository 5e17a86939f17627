"""Logs: one schema, and no secrets."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jsonschema_rs
import pytest

from florin.kit.observability import logging as log
from florin.kit.observability import redaction
from florin.kit.observability.context import bind_work
from florin.kit.postgres.database import open_connection
from tests.conftest import Urls
from tests.support.api_calls import key
from tests.support.instance import SECRETS, Instance, Shop, instance
from tests.support.otlp_collector import Collector, collector
from tests.support.sentry_ingest import Ingest, ingest

CANARY = "kanarie7Zq"
PAN = "4242424242424242"
SAMPLED = f"00-{'ab' * 16}-{'cd' * 8}-01"
WRONG_PIN = "731906"
CODE = "K4N4-R1E0-8FT6-GXMN"
SCHEMA = jsonschema_rs.validator_for(
    json.loads(Path(log.__file__).with_name("log_line.schema.json").read_text("utf-8"))
)
TOKEN = f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}"


@pytest.fixture
def traces() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture
def reports() -> Iterator[Ingest]:
    with ingest() as running:
        yield running


def lines(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        event = json.loads(line)
        SCHEMA.validate(event)
        found.append(event)
    return found


async def _send_everywhere(api: Instance, secret: str) -> None:
    """Send a secret in every place that a request has."""
    named = (
        secret if redaction.looks_secret(secret) else "till-1"
    )  # a request id of the caller is kept
    async with httpx.AsyncClient(base_url=f"{api.base}/api/v1", timeout=30) as http:
        for headers in (
            {"authorization": f"Bearer {secret}"},
            {"authorization": secret, "cookie": secret, "user-agent": secret, "referer": secret},
            {"x-request-id": named, "idempotency-key": secret, "x-forwarded-for": secret},
            {"florin-consistency": secret, "accept-encoding": secret, "origin": secret},
            {"traceparent": secret, "tracestate": f"a={secret}", "baggage": f"b={secret}"},
            {"traceparent": SAMPLED, "tracestate": f"a={secret}", "x-request-id": named},
        ):
            for path in ("/cards", f"/cards/{secret}", f"/{secret}", f"/cards?state={secret}"):
                await http.get(path, headers=headers)
                await http.post(path, headers=headers, json={secret: secret, "code": secret})
        for body in (
            f'{{"code": "{secret}"',
            f'{{"email": "{secret}", "password": "{secret}"}}',
            f'{{"refresh_token": "{secret}", "code": "{secret}", "mfa_token": "{secret}"}}',
            secret,
        ):
            for name in ("login", "register", "refresh", "mfa", "password-resets/confirm"):
                await http.post(f"/auth/{name}", content=body)
            for path in ("/redemptions", "/cards/lookup"):
                await http.post(path, content=body)
    for piece in (
        f"GET /{secret} HTTP/9",
        secret,
        f"GET / HTTP/1.1\r\n{secret}",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        try:
            writer.write(f"{piece}\r\n\r\n".encode())
            with suppress(ConnectionError):  # the server need not read all of an invalid request
                await reader.read(-1)
        finally:
            writer.close()


async def test_no_secret_of_a_request_leaves(
    urls: Urls, shop: Shop, owner: Any, traces: Collector, reports: Ingest
) -> None:
    with instance(
        f"{urls.app}?connection_limit=5",
        FLORIN_LOG_LEVEL="debug",
        OTEL_EXPORTER_OTLP_ENDPOINT=traces.url,
        OTEL_TRACES_SAMPLER_ARG="1",
        SENTRY_DSN=reports.dsn,
    ) as api:
        for secret in (CANARY, PAN, CODE, TOKEN, f"flk_{CANARY}", f"sk_live_{CANARY}"):
            await _send_everywhere(api, secret)
        async with httpx.AsyncClient(base_url=f"{api.base}/api/v1", headers=shop.headers) as http:
            new_card = {"program": shop.program, "amount": 500, "metadata": {"note": CANARY}}
            new_card["recipient"] = {"name": CANARY, "email": f"{CANARY}@shop.example"}
            made = await http.post("/cards", json=new_card, headers=key())
            code = made.json()["code"]
            spend = {"code": code, "amount": 100, "currency": "EUR", "reference": CANARY}
            assert (await http.post("/redemptions", json=spend, headers=key())).status_code == 201
            found = await http.post("/cards/lookup", json={"code": code})
            assert found.status_code == 200
            made = await http.post("/cards", json=new_card | {"pin": True}, headers=key())
            pin = made.json()["pin"]
            spend |= {"code": made.json()["code"], "pin": pin}
            for body in (spend | {"pin": WRONG_PIN}, spend | {"pin": f"{pin}x"}, spend):
                answered = await http.post("/redemptions", json=body, headers=key())
            assert answered.status_code == 201
            reset = await http.post(f"/cards/{made.json()['id']}/reset-pin", headers=key())
            await http.get("/cards", headers={"x-request-id": code})
            # Bugs: every route of cards and programs fails, with the secrets in its hands.
            await owner.execute("alter table florin.program rename to programs_gone")
            try:
                for secret in (CANARY, PAN, CODE, TOKEN):
                    text = {"q": secret, "code": secret, "program": shop.program, "amount": 5}
                    for path in ("/cards", "/programs", "/redemptions", "/cards/lookup"):
                        await http.post(path, json=text, headers=key())
                    failed = await http.get("/programs", headers={"x-forwarded-for": secret})
                    assert failed.status_code == 500
                    new_card["metadata"] = {"note": secret}
                    failed = await http.post("/cards", json=new_card, headers=key())
                    assert failed.status_code == 500
            finally:
                await owner.execute("alter table florin.programs_gone rename to program")
            metrics = (await http.get(f"{api.operations}/metrics")).text
        reports.wait(8)
        api.stop()
        logged = api.log.read_text("utf-8")
    events = lines(logged)
    spans = "".join(span.text for span in traces.spans)
    assert len(traces.spans) > 100
    assert {"GET /api/v1/programs", "ledger call"} <= {span.name for span in traces.spans}
    assert sum(each["event"] == "a bug" for each in events) >= 8
    assert {event["tags"]["event"] for event in reports.events} == {"a bug"}
    left = (logged, metrics, spans, reports.text)
    assert len(events) > 100
    assert all("request_id" in each for each in events if each["event"] == "request")
    for secret in (CANARY, PAN, CODE, code, shop.secret, *SECRETS.values()):
        for text in left:
            assert secret not in text, text[max(0, text.find(secret) - 300) :][:600]
    for secret in (pin, WRONG_PIN, reset.json()["pin"]):  # six digits alone
        for text in left:
            assert not re.search(rf"(?<![\w.]){secret}(?![\w.])", text), secret


async def test_parameters_in_database_errors_are_not_logged(urls: Urls) -> None:
    connection = await open_connection(urls.app, name="tests")
    failures: list[BaseException] = []
    try:
        for sql, value in (
            ("select $1::int", CANARY),
            ("select $1::text::uuid", CANARY),
            ("select $1::text::int", f"{PAN}{PAN}"),
            (f"select '{CANARY}'::int", None),
        ):
            with pytest.raises(
                (asyncpg.PostgresError, asyncpg.DataError, asyncpg.InterfaceError)
            ) as caught:
                await connection.fetch(sql, *([value] if value is not None else []))
            failures.append(caught.value)
    finally:
        await connection.close()
    assert len(failures) == 4
    assert sum(CANARY in str(error) or PAN in str(error) for error in failures) >= 3
    for error in failures:
        shown = json.dumps(redaction.redact_exception(error))
        assert CANARY not in shown
        assert PAN not in shown
        assert "test_logging.py" in shown


@pytest.mark.parametrize(
    "text",
    [
        f"bad code {CODE}",
        f"duplicate key value: Key (email)=({CANARY}@shop.example) already exists.",
        f'invalid input syntax for type uuid: "{CANARY}"',
        f"KeyError: '{CANARY}'",
        f"it's {CANARY!r}",
        f"card {PAN} and 4242 4242 4242 4242",
        f"postgresql://florin:{CANARY}@db/florin",
        f"Authorization: Bearer {CANARY}",
        f"token {TOKEN}",
        f"flk_{CANARY} whsec_{CANARY}",
    ],
)
def test_messages_of_libraries_are_redacted(text: str) -> None:
    shown = redaction.redact_message(text)
    for secret in (CANARY, PAN, CODE, "4242 4242"):
        assert secret not in shown
    assert redaction.GONE in shown


def test_text_without_secrets_is_logged_unchanged() -> None:
    for text in (
        "req_01a21006d582713cb5db0189707ce670",
        "2026-11-24T16:27:07Z",
        "0af7651916cd43dd8448eb211c80319c",
        "till-3-0001",
        "1764000000",
    ):
        assert not redaction.looks_secret(text), text


def test_errors_and_libraries_log_the_same_json() -> None:
    """In a separate process, since logging is configured for a whole process."""
    output = subprocess.run(
        [sys.executable, "-P", __file__, "speak"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": f"{Path(log.__file__).parents[3]}:{Path(__file__).parents[3]}"},
    ).stderr
    assert CANARY not in output
    events = lines(output)
    assert [each["event"] for each in events] == [
        "a bug",
        f"task {redaction.GONE} broke",
        "slow",
        "details",
        "an uncaught exception",
    ]
    assert [each["level"] for each in events] == ["error", "error", "warn", "debug", "error"]
    assert {each["request_id"] for each in events} == {"req_1"}
    (first,) = events[0]["exception"]
    assert first["type"] == "builtins.KeyError"
    assert events[1]["logger"] == "asyncio"


def _log_everything() -> None:
    log.configure_logging(level="info", instance="api-9")
    bind_work("req_1")
    try:
        _ = dict[str, str]()[CANARY]
    except KeyError:
        log.get_logger().exception("a bug")
    logging.getLogger("asyncio").error("task %r broke", CANARY)
    log.get_logger().debug("not said")
    log.get_logger().warning("slow", token=f"flk_{CANARY}")
    log.set_level("debug")
    log.get_logger().debug("details")
    raise ValueError(repr(CANARY))


if __name__ == "__main__":
    _log_everything()
