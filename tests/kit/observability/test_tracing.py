"""Tracing: what is sampled arrives at a collector, and the rest costs nothing."""

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics

from tests.conftest import Urls
from tests.support.api_calls import issue, key, spend
from tests.support.instance import NO_TLS, Instance, Shop, instance
from tests.support.otlp_collector import Collector, collector

SERVER, INTERNAL = 2, 1


@pytest.fixture
def receiver() -> Iterator[Collector]:
    with collector() as running:
        yield running


def traceparent(flags: str = "01") -> tuple[str, dict[str, str]]:
    trace_id = uuid.uuid4().hex
    return trace_id, {"traceparent": f"00-{trace_id}-{uuid.uuid4().hex[:16]}-{flags}"}


def client(api: Instance, shop: Shop) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=100)
    return httpx.AsyncClient(
        base_url=f"{api.base}/api/v1",
        headers=shop.headers,
        timeout=60,
        verify=NO_TLS,
        limits=limits,
    )


def url(urls: Urls) -> str:
    return f"{urls.app}?connection_limit=5&pool_timeout=20"


async def spans_total(api: Instance, outcome: str) -> float:
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        text = (await http.get(f"{api.operations}/metrics")).text
    start = f'florin_trace_spans_total{{outcome="{outcome}"}} '
    return float(next(line for line in text.splitlines() if line.startswith(start)).split()[1])


def requests(api: Instance) -> dict[str, dict[str, Any]]:
    """The log lines of answered requests, by the request's id."""
    events = [json.loads(line) for line in api.log.read_text("utf-8").splitlines()]
    return {each["request_id"]: each for each in events if each["event"] == "request"}


async def test_the_caller_decides_what_is_traced(
    urls: Urls, shop: Shop, receiver: Collector
) -> None:
    with instance(
        url(urls),
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_TRACES_SAMPLER_ARG="0",
        FLORIN_INSTANCE="api-9",
    ) as api:
        async with client(api, shop) as http:
            traced, headers = traceparent()
            not_traced, declined = traceparent("00")
            await http.get("/cards", headers=headers | {"x-request-id": "traced"})
            await http.get("/cards", headers=declined | {"x-request-id": "declined"})
            await http.get("/cards", headers={"x-request-id": "without"})
            own, headers_of_own = traceparent()
            answered = await http.get("/cards", headers=headers_of_own)
            twice = [("traceparent", headers["traceparent"])] * 2
            await http.get("/cards", headers=[*twice, ("x-request-id", "twice")])
        receiver.wait(lambda: len(receiver.of("GET /api/v1/cards")) == 2)
        spans = {span.trace_id: span for span in receiver.of("GET /api/v1/cards")}
        span = spans[traced]
        request_id = spans[own].attributes["florin.request_id"]
        assert request_id == answered.headers["x-request-id"]
        assert await spans_total(api, "exported") == 2
        api.stop()
        events = requests(api)
    assert (span.trace_id, span.kind) == (traced, SERVER)
    assert span.parent_id == headers["traceparent"].split("-")[2]
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/api/v1/cards",
        "http.response.status_code": 200,
    }  # the caller's own X-Request-Id may be any text: it does not leave
    assert span.resource["service.name"] == "florin"
    assert span.resource["service.instance.id"] == "api-9"
    assert (events["traced"]["trace_id"], events["traced"]["span_id"]) == (traced, span.span_id)
    assert events["declined"]["trace_id"] == not_traced
    assert "trace_id" not in events["without"]
    assert "trace_id" not in events["twice"]
    assert len(receiver.spans) == 2


async def test_a_bucket_names_the_trace_of_a_sampled_request(
    urls: Urls, shop: Shop, receiver: Collector
) -> None:
    with instance(
        url(urls), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_TRACES_SAMPLER_ARG="0"
    ) as api:
        async with client(api, shop) as http:
            traced, headers = traceparent()
            await http.get("/cards", headers=headers)
            _, declined = traceparent("00")
            for _ in range(3):
                await http.get("/cards", headers=declined)
        asked = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4"}
        async with httpx.AsyncClient(verify=NO_TLS) as http:
            answer = await http.get(f"{api.operations}/metrics", headers=asked)
            plain = await http.get(f"{api.operations}/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    exemplars = [
        sample.exemplar.labels
        for family in cast("Any", openmetrics).text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert exemplars == [{"trace_id": traced}]
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert traced not in plain.text


async def test_florin_alone_decides_where_callers_are_not_followed(
    urls: Urls, shop: Shop, receiver: Collector
) -> None:
    with instance(
        url(urls),
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0",
    ) as api:
        async with client(api, shop) as http:
            await http.get("/cards", headers=traceparent()[1])
        api.stop()
    assert not receiver.spans


async def test_without_an_exporter_the_trace_of_the_caller_is_in_the_logs(
    urls: Urls, shop: Shop
) -> None:
    with instance(url(urls)) as api:
        async with client(api, shop) as http:
            trace_id, headers = traceparent()
            await http.get("/cards", headers=headers | {"x-request-id": "r1"})
        api.stop()
        events = requests(api)
    assert events["r1"]["trace_id"] == trace_id


async def test_a_call_of_the_ledger_is_linked_to_its_requests(
    urls: Urls, shop: Shop, receiver: Collector
) -> None:
    with instance(
        url(urls),
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_TRACES_SAMPLER_ARG="1",
        FLORIN_REQUESTS_PER_MINUTE="1000000",
    ) as api:
        async with client(api, shop) as http:
            cards = [await issue(http, shop) for _ in range(8)]
            for _ in range(20):
                bodies = [spend(card, 1) for card in cards]
                answers = await asyncio.gather(
                    *(http.post("/redemptions", json=body, headers=key()) for body in bodies)
                )
                assert {answer.status_code for answer in answers} == {201}
        api.stop()
        calls = receiver.of("ledger call")
        requests_ = {span.span_id: span for span in receiver.of("POST /api/v1/redemptions")}
    assert len(requests_) == 160
    linked = [link for call in calls for link in call.links if link[1] in requests_]
    assert {span_id for _, span_id in linked} == set(requests_)
    shared = [call for call in calls if len(call.links) > 1]
    assert shared, "no call was shared"
    for call in shared:
        assert call.attributes["florin.items"] >= len(call.links)
        assert call.parent_id in {span_id for _, span_id in call.links}
        assert len({trace_id for trace_id, _ in call.links}) == len(call.links)
        assert call.kind == INTERNAL


@pytest.mark.slow
async def test_a_collector_that_does_not_answer_costs_spans_not_requests(
    urls: Urls, shop: Shop, receiver: Collector
) -> None:
    receiver.held.set()
    with instance(
        url(urls),
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_TRACES_SAMPLER_ARG="1",
        FLORIN_REQUESTS_PER_MINUTE="1000000",
    ) as api:
        async with client(api, shop) as http:
            for _ in range(400):
                answers = await asyncio.gather(*(http.get("/nothing") for _ in range(50)))
                assert {answer.status_code for answer in answers} == {404}
                if await spans_total(api, "dropped"):
                    break
        assert await spans_total(api, "dropped")
        assert await spans_total(api, "exported") == 0
        begun = time.monotonic()
        assert api.stop() == 0
        assert time.monotonic() - begun < 15


async def test_a_collector_that_refuses_is_counted(
    urls: Urls, shop: Shop, receiver: Collector
) -> None:
    receiver.status = 400
    with instance(
        url(urls), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_TRACES_SAMPLER_ARG="1"
    ) as api:
        async with client(api, shop) as http:
            await http.get("/cards")
        receiver.wait(lambda: receiver.headers)
        deadline = time.monotonic() + 20
        while not await spans_total(api, "failed"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert await spans_total(api, "exported") == 0


def test_the_sdk_is_imported_only_where_it_is_configured() -> None:
    code = (
        "import sys, florin.app, florin.worker\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'sentry_sdk'))])"
    )
    said = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout == "[]\n"
