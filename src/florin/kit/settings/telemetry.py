"""Telemetry: where traces and error reports are sent."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from florin.kit.settings.variable import WebUrl, variable

_PACKAGES = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "opentelemetry.exporter.otlp.proto.http",
    "SENTRY_DSN": "sentry_sdk",
}


class TelemetrySettings(BaseSettings):
    """Traces and error reports"""

    otlp_endpoint: WebUrl | None = variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "URL of a collector that speaks OTLP/HTTP; traces are sent to `/v1/traces` below it. None"
        " are sent by default; needs `florin[telemetry]`.",
        None,
        example="http://127.0.0.1:4318",
    )
    otlp_headers: SecretStr | None = variable(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "Headers for the collector, such as its key: `name=value`, with commas between several.",
        None,
        example="api-key=…",
    )
    otel_service_name: str = variable(
        "OTEL_SERVICE_NAME", "Name of the service in traces.", "florin"
    )
    otel_resource_attributes: str | None = variable(
        "OTEL_RESOURCE_ATTRIBUTES",
        "Further attributes of every trace: `name=value`, with commas between several.",
        None,
        example="service.namespace=shops",
    )
    traces_sampler: Literal["parentbased_traceidratio", "traceidratio"] = variable(
        "OTEL_TRACES_SAMPLER",
        "Whether a caller's `traceparent` decides whether its request is traced"
        " (`parentbased_traceidratio`), or Florin alone.",
        "parentbased_traceidratio",
    )
    traces_ratio: float = variable(
        "OTEL_TRACES_SAMPLER_ARG", "Part of the requests that is traced.", 0.01, ge=0, le=1
    )
    sentry_dsn: SecretStr | None = variable(
        "SENTRY_DSN",
        "Where Sentry receives error reports; none are sent by default; needs `florin[telemetry]`.",
        None,
        example="https://key@o1.ingest.sentry.io/2",
    )


def telemetry_violations(given: Mapping[str, str]) -> Iterator[str]:
    """Yield the errors in these variables that their types do not find."""
    for name, module in _PACKAGES.items():
        if name in given and not _is_installed(module):
            yield f"{name}: needs a package that is not installed: pip install 'florin[telemetry]'"
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES"):
        pairs = [each.strip() for each in given.get(name, "").split(",") if each.strip()]
        if any("=" not in pair.lstrip("=") for pair in pairs):
            yield f"{name}: must be name=value, with commas between several"
    dsn = given.get("SENTRY_DSN")
    if dsn is not None and not _is_dsn(dsn):
        yield "SENTRY_DSN: is no DSN of Sentry: https://KEY@HOST/PROJECT"


def _is_dsn(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    project = parts.path.rpartition("/")[2]
    named = parts.scheme in {"http", "https"} and parts.hostname and parts.username
    return bool(named) and project.isdecimal()


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
