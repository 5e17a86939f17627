"""Traces: one request is followed from the balancer to its job by one trace id."""

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.ops.haproxy.haproxy_process import running
from tests.support.instance import NO_TLS, Shop, instance
from tests.support.otlp_collector import collector
from tests.support.waiting import until
from tests.support.workers import Crew

CONSUMER = 5


@pytest.mark.slow
async def test_one_trace_id_leads_from_the_balancer_to_the_job(
    urls: Urls, shop: Shop, workers: Crew, tmp_path: Path
) -> None:
    trace_id, request_id = uuid.uuid4().hex, f"till-{uuid.uuid4().hex}"
    with collector() as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_TRACES_SAMPLER_ARG": "0",
            "FLORIN_INSTANCE": "api-1",
        }
        with instance(f"{urls.app}?connection_limit=5&pool_timeout=20", **settings) as api:
            settings["FLORIN_INSTANCE"] = "worker-1"
            worker = workers.start(**settings)
            async with running(tmp_path) as balancer:
                await balancer.balancer.admit("api-1", f"127.0.0.1:{api.port}")
                await balancer.until("api-1", lambda seen: seen.check == "up")
                async with httpx.AsyncClient(
                    base_url=f"{balancer.base}/api/v1",
                    headers=shop.headers,
                    timeout=60,
                    verify=NO_TLS,
                ) as http:
                    body = {"program": shop.program, "amount": 2500, "quantity": 3}
                    asked = await http.post(
                        "/cards/bulk",
                        json=body,
                        headers={
                            "idempotency-key": uuid.uuid4().hex,
                            "traceparent": f"00-{trace_id}-{uuid.uuid4().hex[:16]}-01",
                            "x-request-id": request_id,
                        },
                    )
                    assert asked.status_code == 202, asked.text
                    assert asked.headers["x-request-id"] == request_id
                    job = asked.json()["id"]

                    async def finished() -> Any:
                        return (await http.get(f"/jobs/{job}")).json()["state"] == "finished"

                    await until(finished)
            receiver.wait(lambda: receiver.of("job bulk issue"))
            receiver.wait(lambda: receiver.of("POST /api/v1/cards/bulk"))
            Crew.stop(worker)
            api.stop()
            api_log = api.log.read_text("utf-8")
        [request] = receiver.of("POST /api/v1/cards/bulk")
        jobs = receiver.of("job bulk issue")
    assert {span.trace_id for span in receiver.spans} == {trace_id}
    assert jobs[0].parent_id == request.span_id
    assert (jobs[0].kind, jobs[0].failed) == (CONSUMER, False)
    assert jobs[0].attributes["messaging.destination.name"] == "bulk"
    assert jobs[0].resource["service.instance.id"] == "worker-1"
    assert request.resource["service.instance.id"] == "api-1"
    line = next(
        event
        for event in map(json.loads, api_log.splitlines())
        if event["event"] == "request" and event["request_id"] == request_id
    )
    assert (line["trace_id"], line["span_id"]) == (trace_id, request.span_id)


async def test_the_lines_of_a_job_name_the_request_and_the_trace_that_caused_it(
    owner: Any, workers: Crew
) -> None:
    trace_id = uuid.uuid4().hex
    cause = f"00-{trace_id}-{uuid.uuid4().hex[:16]}-01 req_of-a-test"
    await owner.execute(
        "insert into florin.outbox (queue, kind, payload, version, trace)"
        " values ('bulk', 'issue', '{}', 1, $1)",
        cause,
    )
    worker = workers.start()  # without an exporter

    async def logged() -> dict[str, Any] | None:
        events = [json.loads(line) for line in workers.log(worker).splitlines()]
        return next((each for each in events if each["event"] == "a job failed"), None)

    event = await until(logged)
    assert (event["request_id"], event["trace_id"]) == ("req_of-a-test", trace_id)
    Crew.stop(worker)
