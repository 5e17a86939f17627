"""Pod watch: check new pods at their own address, and watch them under real requests."""

import asyncio
import time
from collections.abc import Sequence

from florin.ops.kubernetes.kubectl import KubectlCommand, Manifest
from florin.ops.rollout import soak
from florin.ops.rollout.soak import RequestCounts
from florin.ops.system.console import OperatorError

_READY = "http://127.0.0.1:8000/health/ready"
_METRICS = "http://127.0.0.1:9000/metrics"
_EVERY_S = 1.0
_OK = 200


async def check_pods(kubectl: KubectlCommand, pods: Sequence[Manifest]) -> None:
    """Raise OperatorError unless every pod answers that it is ready."""
    if not pods:
        raise OperatorError("The new set has no pods")
    for name in map(_name, pods):
        [(status, _)] = await kubectl.ask(name, [_READY])
        if status != _OK:
            raise OperatorError(f"{name} did not pass its check: /health/ready answered {status}")


async def watch_pods(
    kubectl: KubectlCommand, pods: Sequence[Manifest], before: Sequence[Manifest], soak_s: float
) -> None:
    """Watch new pods for `soak_s`; `before` are those that serve or served, to compare with.

    Raises OperatorError if one restarts, is not ready any more, or answers worse.
    """
    new_then, old_then = await _counts(kubectl, pods), await _counts(kubectl, before)
    started = {_name(pod): _restarts(pod) for pod in pods}
    until = time.monotonic() + soak_s
    while True:
        left = until - time.monotonic()
        await asyncio.sleep(max(0.0, min(left, _EVERY_S)))
        for name, restarts in started.items():
            now = await kubectl.get("pod", name)
            if now is not None and _restarts(now) > restarts:
                raise OperatorError(f"{name} ended soon after it began to serve")
            if now is None or not _is_ready(now):
                raise OperatorError(f"{name} was no longer ready soon after it began to serve")
        if soak_s:
            new, old = await _counts(kubectl, pods), await _counts(kubectl, before)
            wrong = soak.soak_verdict(new.since(new_then), old.since(old_then), old_then)
            if wrong is not None:
                raise OperatorError(f"The new pods: {wrong}")
        if left <= _EVERY_S:
            return


async def _counts(kubectl: KubectlCommand, pods: Sequence[Manifest]) -> RequestCounts:
    answers = await asyncio.gather(*(kubectl.ask(_name(pod), [_METRICS]) for pod in pods))
    total = RequestCounts()
    for [(status, text)] in answers:
        if status == _OK:
            total += soak.parse_counts(text)
    return total


def _name(pod: Manifest) -> str:
    return pod["metadata"]["name"]


def _restarts(pod: Manifest) -> int:
    return sum(each["restartCount"] for each in pod.get("status", {}).get("containerStatuses", ()))


def _is_ready(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
