"""Soak: compare new instances under real requests with the ones of the release before."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from florin.ops.system import http_probe

ERRORS_MAX = 0.005  # of the requests of a route, where it has not failed before
ERRORS_LEAST = 5  # fewer errors are not enough to reject a release
_SLOWER_MAX = 10.0  # times
_SLOW_S, _ENOUGH = 0.25, 20  # a shorter mean is never slow; fewer requests prove nothing
_OK, _BUSY = 200, "503"
_SAMPLE = re.compile(
    r"(florin_http_requests_total|florin_http_request_seconds_(?:sum|bucket))\{(.*)\} (\S+)"
)
_ROUTE = re.compile(r'route="([^"]*)"')
_METHOD = re.compile(r'method="([^"]*)"')
_OURS = re.compile(r'route="/health')  # health checks, not requests of clients
_STREAM = re.compile(r'route="[^"]*/stream"')  # open for as long as its client likes
_LE = re.compile(r'le="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """Answers of instances so far; `busy` counts 503, `errors` all other 5xx by route."""

    requests: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    busy: float = 0
    seconds: float = 0
    within: Counter[float] = field(default_factory=Counter[float])  # requests by bound in seconds

    def __add__(self, other: "RequestCounts") -> "RequestCounts":
        return RequestCounts(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            busy=self.busy + other.busy,
            seconds=self.seconds + other.seconds,
            within=self.within + other.within,
        )

    def since(self, before: "RequestCounts") -> "RequestCounts":
        return RequestCounts(
            requests=self.requests - before.requests,
            errors=self.errors - before.errors,
            busy=self.busy - before.busy,
            seconds=self.seconds - before.seconds,
            within=self.within - before.within,
        )

    @property
    def total(self) -> int:
        return self.requests.total()

    @property
    def mean_s(self) -> float:
        return self.seconds / self.total if self.total else 0.0

    def failing(self, route: str) -> float:
        """Return the share of a route's requests that failed."""
        return self.errors[route] / self.requests[route] if self.requests[route] else 0.0


def parse_counts(text: str) -> RequestCounts:
    """Add up an instance's metrics."""
    requests, errors, within = Counter[str](), Counter[str](), Counter[float]()
    busy = seconds = 0.0
    for name, labels, value in _SAMPLE.findall(text):
        if _OURS.search(labels):
            continue
        if name.endswith("_sum"):
            seconds += float(value)
            continue
        if name.endswith("_bucket"):
            if not _STREAM.search(labels):
                within[float(_LE.findall(labels)[0])] += int(float(value))
            continue
        route = " ".join(found[0] for found in (_METHOD.findall(labels), _ROUTE.findall(labels)))
        requests[route] += int(float(value))
        if f'status="{_BUSY}"' in labels:
            busy += float(value)
        elif 'status="5' in labels:
            errors[route] += int(float(value))
    return RequestCounts(
        requests=requests, errors=errors, busy=busy, seconds=seconds, within=within
    )


async def read_counts(addresses: Sequence[str]) -> RequestCounts:
    """Return the sum over these instances; one that does not answer counts nothing."""
    total = RequestCounts()
    for address in addresses:
        answer = await http_probe.probe(address, "/metrics")
        if answer is not None and answer.status == _OK:
            total += parse_counts(answer.body.decode(errors="replace"))
    return total


def soak_verdict(new: RequestCounts, old: RequestCounts, old_before: RequestCounts) -> str | None:
    """Return what is wrong with the new instances; None when nothing is.

    `old` has the old instances' answers during the soak, `old_before` those since their start. A
    route that fails as often on old instances is not counted: otherwise any client could undo a
    deployment by calling it. A 503 may come from something that all share, such as the database, so
    it counts only when old instances answer at the same time.
    """
    if new.total < _ENOUGH:
        return None
    blamed = sum(
        count
        for route, count in new.errors.items()
        if new.failing(route)
        > max(ERRORS_MAX, 2 * old.failing(route), 2 * old_before.failing(route))
    )
    if blamed >= ERRORS_LEAST and blamed / new.total > ERRORS_MAX:
        return f"{blamed} of {new.total} requests failed"
    if old.total >= _ENOUGH:
        allowed = max(ERRORS_MAX, 2 * old.busy / old.total)
        if new.busy / new.total > allowed:
            return f"{new.busy:.0f} of {new.total} requests were refused (503)"
    # After a blue-green switch the old instances answer nothing: theirs is the time before it.
    base = old if old.total >= _ENOUGH else old_before
    if base.total >= _ENOUGH and new.mean_s > max(_SLOW_S, _SLOWER_MAX * base.mean_s):
        return (
            f"a request takes {new.mean_s * 1000:.0f} ms on average; with the release before"
            f" it takes {base.mean_s * 1000:.0f} ms"
        )
    return None


def refuses_alone(new: RequestCounts, old: RequestCounts) -> bool:
    """Return whether new instances refuse requests (503) while the old ones get none to compare.

    Then it is the new ones' fault if the old ones are healthy, since they share everything else.
    """
    return (
        old.total < _ENOUGH <= new.total
        and new.busy >= ERRORS_LEAST
        and new.busy / new.total > ERRORS_MAX
    )
