"""APM: the documented configurations send what Datadog and New Relic expect."""

import re
from pathlib import Path

import httpx
import pytest

from florin.kit.observability.trace_export import parse_pairs
from florin.kit.settings.telemetry import telemetry_violations
from tests.conftest import Urls
from tests.support.instance import NO_TLS, Shop, instance
from tests.support.otlp_collector import collector

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "apm.md"


def configurations() -> list[dict[str, str]]:
    """The blocks of variables of the page."""
    blocks = re.findall(r"^```\n(OTEL_.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]


def test_the_page_has_a_configuration_for_each_vendor() -> None:
    endpoints = [each["OTEL_EXPORTER_OTLP_ENDPOINT"] for each in configurations()]
    assert endpoints == [
        "https://otlp.datadoghq.com",
        "http://127.0.0.1:4318",
        "https://otlp.nr-data.net",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
async def test_a_documented_configuration_sends_its_headers(
    urls: Urls, shop: Shop, number: int
) -> None:
    settings = configurations()[number]
    with collector() as receiver:
        settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url  # not the vendor's host
        settings |= {"OTEL_TRACES_SAMPLER_ARG": "1", "FLORIN_RELEASE": "r7"}
        settings["OTEL_RESOURCE_ATTRIBUTES"] = "service.namespace=shops"
        with instance(f"{urls.app}?connection_limit=2", **settings) as api:
            async with httpx.AsyncClient(verify=NO_TLS, headers=shop.headers) as http:
                await http.get(f"{api.base}/api/v1/cards")
            receiver.wait(lambda: receiver.of("GET /api/v1/cards"))
            api.stop()
    assert receiver.paths == {"/v1/traces"}
    expected = parse_pairs(settings.get("OTEL_EXPORTER_OTLP_HEADERS", ""))
    for headers in receiver.headers:
        assert headers["content-type"] == "application/x-protobuf"
        assert expected.items() <= headers.items()
    resource = receiver.of("GET /api/v1/cards")[0].resource
    assert resource["service.name"] == "florin"
    assert resource["service.version"] == "r7"
    assert resource["deployment.environment.name"] == "test"
    assert resource["service.namespace"] == "shops"


def test_headers_are_parsed_and_mistakes_are_named() -> None:
    assert parse_pairs("api-key=a%2Cb=, x-more = 1,") == {"api-key": "a,b=", "x-more": "1"}
    name = "OTEL_EXPORTER_OTLP_HEADERS"
    assert list(telemetry_violations({name: "api-key=1"})) == []
    assert list(telemetry_violations({name: "api-key"})) == [
        f"{name}: must be name=value, with commas between several"
    ]
    for dsn in ("https://sentry.io/1", "https://key@sentry.io/x", "sentry", "https://k@[::1/2"):
        assert list(telemetry_violations({"SENTRY_DSN": dsn})), dsn
    assert list(telemetry_violations({"SENTRY_DSN": "https://k@o1.ingest.sentry.io/2"})) == []
