"""Soak: new instances under real requests, compared with what ran before them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from florin.ops.system import http_probe

ERRORS_MAX = 0.005  # of the requests, where nobody runs to compare with
_SLOWER_MAX = 10.0  # times
_SLOW_S, _ENOUGH = 0.25, 20  # below this nothing is slow, with fewer requests nothing is known
_OK, _BUSY = 200, "503"
_SAMPLE = re.compile(r"(florin_http_requests_total|florin_http_request_seconds_sum)\{(.*)\} (\S+)")
_OURS = re.compile(r'route="/health')  # asked by us, not by clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What instances have answered so far; `busy` are 503, `errors` all other 5xx."""

    requests: float = 0
    errors: float = 0
    busy: float = 0
    seconds: float = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            busy=self.busy + other.busy,
            seconds=self.seconds + other.seconds,
        )

    def since(self, before: "Counts") -> "Counts":
        return Counts(
            requests=self.requests - before.requests,
            errors=self.errors - before.errors,
            busy=self.busy - before.busy,
            seconds=self.seconds - before.seconds,
        )

    @property
    def mean_s(self) -> float:
        return self.seconds / self.requests if self.requests else 0.0


def read(text: str) -> Counts:
    """Add up an instance's metrics."""
    requests = errors = busy = seconds = 0.0
    for name, labels, value in _SAMPLE.findall(text):
        if _OURS.search(labels):
            continue
        if name.endswith("_sum"):
            seconds += float(value)
            continue
        requests += float(value)
        if f'status="{_BUSY}"' in labels:
            busy += float(value)
        elif 'status="5' in labels:
            errors += float(value)
    return Counts(requests=requests, errors=errors, busy=busy, seconds=seconds)


async def ask(addresses: Sequence[str]) -> Counts:
    """Return what these instances have answered, together; those that are silent count nothing."""
    total = Counts()
    for address in addresses:
        answer = await http_probe.get(address, "/metrics")
        if answer is not None and answer.status == _OK:
            total += read(answer.body.decode(errors="replace"))
    return total


def verdict(new: Counts, old: Counts) -> str | None:
    """Return what is wrong with the new ones; None when nothing is.

    A 503 may come from what all share, so it speaks against the new only beside old ones that
    answer. Errors that the old have too are not the new ones' fault.
    """
    if new.requests <= 0:
        return None
    allowed = max(ERRORS_MAX, 2 * old.errors / old.requests if old.requests > 0 else 0.0)
    if new.errors / new.requests > allowed:
        return f"{new.errors:.0f} of {new.requests:.0f} requests failed"
    if old.requests >= _ENOUGH and new.requests >= _ENOUGH:
        allowed = max(ERRORS_MAX, 2 * old.busy / old.requests)
        if new.busy / new.requests > allowed:
            return f"{new.busy:.0f} of {new.requests:.0f} requests were turned away (503)"
        if new.mean_s > max(_SLOW_S, _SLOWER_MAX * old.mean_s):
            return (
                f"a request takes {new.mean_s * 1000:.0f} ms, with the release before it takes"
                f" {old.mean_s * 1000:.0f} ms"
            )
    return None
