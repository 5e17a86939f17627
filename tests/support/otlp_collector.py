"""OTLP collector: receives traces over HTTP with OpenTelemetry's protocol, as a real one does."""

import contextlib
import gzip
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

_TRACES: Any = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


@dataclass(frozen=True, slots=True)
class Span:
    """A received span. Ids are hexadecimal; `links` are pairs of trace and span id."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    resource: dict[str, Any]
    text: str  # everything in it


@dataclass(slots=True)
class Collector:
    """What was received. `held` makes it accept connections without answering."""

    port: int = 0
    spans: list[Span] = field(default_factory=list[Span])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    paths: set[str] = field(default_factory=set[str])
    held: threading.Event = field(default_factory=threading.Event)
    status: int = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, true: Callable[[], Any], *, within_s: float = 30) -> Any:
        deadline = time.monotonic() + within_s
        while not (found := true()):
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.05)
        return found

    def of(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


def _values(attributes: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
        for each in attributes
    }


def _spans(body: bytes) -> list[Span]:
    request = _TRACES.ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            kind=span.kind,
            failed=span.status.code == 2,
            links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            attributes=_values(span.attributes),
            resource=_values(resource.resource.attributes),
            text=str(span),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@contextmanager
def collector() -> Generator[Collector]:
    """Run a collector on loopback."""
    made = Collector()

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            while made.held.is_set():
                time.sleep(0.02)
            made.paths.add(self.path)
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if made.status == 200:
                made.spans += _spans(body)
            answer = _TRACES.ExportTraceServiceResponse().SerializeToString()
            self.send_response(made.status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            with contextlib.suppress(ConnectionError):  # the exporter may have given up
                self.end_headers()
                self.wfile.write(answer)

        def log_request(self, code: Any = "-", size: Any = "-") -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.held.clear()
        server.shutdown()
        server.server_close()
