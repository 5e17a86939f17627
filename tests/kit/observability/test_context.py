"""Context: the ids of a request are read from headers and pass through a job's row."""

import pytest

from florin.kit.observability.context import WorkContext, parse_cause, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
    ],
)
def test_a_valid_traceparent_is_read(header: str, sampled: bool) -> None:
    found = parse_traceparent(header)
    assert found is not None
    assert (found.trace_id, found.span_id, found.sampled) == (TRACE, SPAN, sampled)
    assert found.traceparent == f"00-{TRACE}-{SPAN}-{'01' if sampled else '00'}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.x",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_an_invalid_traceparent_is_ignored(header: str) -> None:
    assert parse_traceparent(header) is None


@pytest.mark.parametrize("request_id", ["req_1", None, "till-3:0001"])
@pytest.mark.parametrize("traced", [True, False])
def test_the_ids_of_a_cause_come_back(request_id: str | None, traced: bool) -> None:
    trace = parse_traceparent(f"00-{TRACE}-{SPAN}-01") if traced else None
    found = parse_cause(WorkContext(request_id, trace).to_text())
    assert found.log_fields() == WorkContext(request_id, trace).log_fields()
    assert parse_cause(None) == WorkContext(None)
