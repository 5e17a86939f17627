"""Retries: which requests the balancer sends to another instance, and which it never resends."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.ops.fleet.timing import DEFAULT
from tests.ops.haproxy.haproxy_process import FAST, Running, client, running
from tests.ops.haproxy.stub_instances import StandIn, standins

KEYED = {"idempotency-key": "one"}
SMALL, LARGE = b"x" * DEFAULT.retry_body_bytes, b"x" * (DEFAULT.retry_body_bytes + 1)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncGenerator[tuple[Running, dict[str, StandIn]]]:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        for name, each in fleet.items():
            await run.balancer.admit(name, each.address)
        yield run, fleet


async def _send(run: Running, method: str, path: str, **more: Any) -> httpx.Response | None:
    """Return the answer; None when the connection closed without one, equivalent to a 502."""
    async with client(run.base) as http:
        try:
            return await http.request(method, path, **more)
        except httpx.RemoteProtocolError:
            return None


def _sent(fleet: dict[str, StandIn]) -> int:
    return sum(len(each.calls) for each in fleet.values())


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/api/v1/cards", {}, b""),
        ("HEAD", "/api/v1/cards", {}, b""),
        ("POST", "/api/v1/cards/lookup", {}, b"{}"),
        ("POST", "/api/v1/redemptions", KEYED, b"{}"),
        ("POST", "/api/v1/redemptions", KEYED, SMALL),
    ],
)
async def test_a_repeatable_request_is_answered_by_another_instance(
    pair: tuple[Running, dict[str, StandIn]],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    run, fleet = pair
    fleet["a"].breaks = fleet["b"].breaks = 1
    for _ in range(2):
        answer = await _send(run, method, path, headers=headers, content=body)
        assert answer is not None
        assert answer.status_code == 200
    calls = fleet["a"].calls + fleet["b"].calls
    assert len(calls) == 4
    assert {call.body for call in calls} == {body}
    # An attempt and its retry have the same request id in the logs.
    assert len({call.headers["x-request-id"] for call in calls}) == 2


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("POST", "/api/v1/cards", {}, b"{}"),
        ("POST", "/api/v1/redemptions", KEYED, LARGE),
        ("POST", "/api/v1/cards/lookup", {}, LARGE),
        ("PATCH", "/api/v1/cards/crd_1", KEYED, b"{}"),
        ("DELETE", "/api/v1/keys/key_1", {}, b""),
        ("POST", "/api/v1/cards/lookup%2F", {}, b"{}"),
    ],
)
async def test_every_other_request_is_sent_once(
    pair: tuple[Running, dict[str, StandIn]],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    run, fleet = pair
    for number in range(1, 4):
        fleet["a"].breaks = fleet["b"].breaks = 1
        answer = await _send(run, method, path, headers=headers, content=body)
        assert answer is None or answer.json()["code"] == "outcome_unknown"
        assert answer is None or answer.status_code == 502
        fleet["a"].breaks = fleet["b"].breaks = 0
        assert _sent(fleet) == number


async def test_any_request_that_was_never_sent_goes_to_another_instance(
    pair: tuple[Running, dict[str, StandIn]],
) -> None:
    run, fleet = pair
    await fleet["a"].die()
    async with client(run.base) as http:
        for _ in range(10):
            assert (await http.post("/api/v1/cards", json={})).status_code == 200
    assert _sent(fleet) == len(fleet["b"].calls) == 10


async def test_a_request_with_a_key_is_not_stuck_at_a_frozen_instance(
    pair: tuple[Running, dict[str, StandIn]],
) -> None:
    """It accepts the request and does not answer: the probe fails long before the time-out."""
    run, fleet = pair
    fleet["a"].speaking.clear()
    begun = time.monotonic()
    async with client(run.base) as http:
        answers = await asyncio.gather(
            *(http.post("/api/v1/redemptions", json={}, headers=KEYED) for _ in range(6))
        )
    assert [answer.status_code for answer in answers] == [200] * 6
    assert {answer.json()["name"] for answer in answers} == {"b"}
    assert time.monotonic() - begun < FAST.server_timeout_s


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/v1/cards", {}),
        ("POST", "/api/v1/cards/lookup", {}),
        ("POST", "/api/v1/redemptions", KEYED),
    ],
)
async def test_a_request_that_timed_out_is_sent_once(
    tmp_path: Path, method: str, path: str, headers: dict[str, str]
) -> None:
    """The instances are healthy but slow for this request: a retry would be as slow."""
    timing = replace(FAST, server_timeout_s=1.0)
    async with standins("a", "b") as fleet, running(tmp_path, timing=timing) as run:
        for name, each in fleet.items():
            await run.balancer.admit(name, each.address)
            each.answering.clear()
        answer = await _send(run, method, path, headers=headers, content=b"{}")
        assert answer is not None
        assert (answer.status_code, answer.json()["code"]) == (504, "outcome_unknown")
        assert _sent(fleet) == 1
