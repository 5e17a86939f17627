"""Queue reading: what the autoscaling decision reads, from the facts of the queues. Pure."""

from collections.abc import Iterable

from florin.kit.queue.stats import QueueFacts
from florin.ops.planning.autoscaling import QueueLoad

# Queues with slots of their own in each worker, as its plan has them.
OWN_SLOTS = {"email-delivery": 16, "sms-delivery": 16}
_SERVICE_S = 0.5  # assumed for a kind of job that has not run yet


def queue_load(queue: QueueFacts) -> QueueLoad:
    """Return what the decision needs to know about a queue; a paused one has no waiting jobs."""
    return QueueLoad(
        name=queue.name,
        waiting=0 if queue.paused else queue.waiting,
        oldest_s=0.0 if queue.paused else queue.oldest_s,
        rate=max(queue.arrivals_10s, queue.arrivals_30s),
        service_s=_SERVICE_S if queue.service_s is None else queue.service_s,
        objective_s=queue.objective_s,
        max_running=queue.max_running,
        max_running_per_worker=queue.max_running_per_worker,
        own_slots=OWN_SLOTS.get(queue.name),
    )


def failed_share(facts: Iterable[QueueFacts]) -> float:
    """Return the failed share of all attempts, weighted by each queue's estimated attempts."""
    attempts = [
        (max(q.arrivals_30s, q.completions_30s / max(0.01, 1 - q.failing)), q.failing)
        for q in facts
    ]
    total = sum(weight for weight, _ in attempts)
    return sum(weight * failing for weight, failing in attempts) / total if total else 0.0
