"""Outcomes: write what became of attempts, when the next ones follow, and how an endpoint does.

The delays grow to 20 hours and end after three days. An endpoint that fails five times in a row is
paused for a growing time, in which its deliveries wait; after five days without a success it is
disabled, as it is at once by the answer 410 (Standard Webhooks).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from florin.identity.audit_log import FLORIN, AuditActor, record_audit
from florin.kit import ids
from florin.kit.json_text import json_text
from florin.kit.observability import logging, metrics
from florin.kit.postgres.database import Tx
from florin.kit.queue.enqueue import publish
from florin.webhooks.delivery import ATTEMPTS_SHOWN
from florin.webhooks.http_client import Attempt

_MINUTE, _HOUR = 60, 3600
DELAYS_S = (5, _MINUTE, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR,
            20 * _HOUR, 20 * _HOUR)  # fmt: skip
RETRY_AFTER_MAX_S = _HOUR
GONE = 410
PAUSE_AFTER = 5  # failures in a row
PAUSE_S, PAUSE_MAX_S = 5, 15 * _MINUTE
DISABLED_DAYS = 5
TOPIC_DISABLED = "webhook_endpoint.disabled"

_log = logging.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attempt that ended."""

    merchant: UUID
    endpoint: UUID
    delivery: UUID
    attempts: int  # before this one
    attempt: Attempt


_WRITE = """
update florin.webhook_delivery d set
  attempts = d.attempts + 1,
  state = case when w.ok then 'delivered' when w.last or d.give_up_at < w.next_at then 'failed'
    else 'pending' end,
  next_at = w.next_at,
  delivered_at = case when w.ok then clock_timestamp() end,
  log = (case when jsonb_array_length(d.log) >= $7 then d.log - 0 else d.log end) || w.entry
from (
  select u.merchant, u.id, u.ok, u.last, u.entry,
    clock_timestamp() + make_interval(secs => u.delay_s) as next_at
  from unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::boolean[], $5::float8[],
    $6::text[]::jsonb[]) u (merchant, id, ok, last, delay_s, entry)
) w
where d.merchant = w.merchant and d.id = w.id
"""
_HEALTH = """
update florin.webhook_endpoint e set
  failures = w.misses + case when w.ok then 0 else e.failures end,
  failing_since = case when w.misses = 0 then null when w.ok then clock_timestamp()
    else coalesce(e.failing_since, clock_timestamp()) end,
  paused_until = case when w.misses + case when w.ok then 0 else e.failures end < $5 then null
    else clock_timestamp() + make_interval(secs => least($7::float8, $6 * power(2,
      least(w.misses + case when w.ok then 0 else e.failures end - $5, 12)))) end
from unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::integer[]) w (merchant, id, ok, misses)
where e.merchant = w.merchant and e.id = w.id and e.state = 'enabled'
"""
_DISABLE = """
update florin.webhook_endpoint e set state = 'disabled', disabled_reason =
  case when e.id = any ($3) then 'it answered 410 Gone'
    else 'no attempt succeeded for five days' end
where e.merchant = any ($1) and e.id = any ($2) and e.state = 'enabled'
  and (e.id = any ($3) or e.failing_since < clock_timestamp() - make_interval(days => $4))
returning e.merchant, e.id, e.disabled_reason
"""
# It may be enabled and disabled again: its latest change is in the cause.
_NOTIFY = """
select notify_staff(e.merchant, 'webhook_endpoint.disabled', e.id::text || '.'
    || extract(epoch from clock_timestamp())::text,
  jsonb_build_object('endpoint', e.id, 'url', e.url, 'reason', $3::text))
from florin.webhook_endpoint e where e.merchant = $1 and e.id = $2
"""


def next_delay_s(attempts: int, attempt: Attempt) -> float | None:
    """The delay after an attempt; `attempts` were made before. None: it was the last one."""
    if attempts >= len(DELAYS_S):
        return None
    delay = float(DELAYS_S[attempts])
    return max(delay, min(attempt.retry_after_s or 0, RETRY_AFTER_MAX_S))


async def write_outcomes(tx: Tx, outcomes: Sequence[Outcome]) -> None:
    """Write the outcomes of attempts, in the order in which they ended."""
    delays = [next_delay_s(each.attempts, each.attempt) for each in outcomes]
    await tx.run(
        _WRITE,
        [each.merchant for each in outcomes],
        [each.delivery for each in outcomes],
        [each.attempt.succeeded for each in outcomes],
        [delay is None for delay in delays],
        [delay or 0.0 for delay in delays],
        [json_text(each.attempt) for each in outcomes],
        ATTEMPTS_SHOWN,
    )
    for each in outcomes:
        outcome = "delivered" if each.attempt.succeeded else "failed"
        metrics.webhook_attempts.labels(outcome).inc()
        metrics.webhook_attempt_seconds.observe(each.attempt.duration_ms / 1000)
    await _write_health(tx, outcomes)


async def _write_health(tx: Tx, outcomes: Sequence[Outcome]) -> None:
    by_endpoint: defaultdict[tuple[UUID, UUID], list[bool]] = defaultdict(list)
    for each in outcomes:
        by_endpoint[each.merchant, each.endpoint].append(each.attempt.succeeded)
    endpoints = sorted(by_endpoint)
    ended = [by_endpoint[each] for each in endpoints]
    trailing = [list(reversed(each)).index(True) if any(each) else len(each) for each in ended]
    merchants, uuids = [m for m, _ in endpoints], [e for _, e in endpoints]
    await tx.run(
        _HEALTH, merchants, uuids, [any(each) for each in ended], trailing,
        PAUSE_AFTER, float(PAUSE_S), float(PAUSE_MAX_S),
    )  # fmt: skip
    failed = [each for each, number in zip(endpoints, trailing, strict=True) if number]
    if failed:
        gone = [each.endpoint for each in outcomes if each.attempt.status == GONE]
        await _disable(tx, failed, gone)


async def _disable(tx: Tx, failed: Sequence[tuple[UUID, UUID]], gone: Sequence[UUID]) -> None:
    rows = await tx.all(
        _DISABLE, [m for m, _ in failed], [e for _, e in failed], gone, DISABLED_DAYS
    )
    for row in rows:
        by = AuditActor(merchant=row["merchant"], actor=FLORIN)
        shown = ids.show_id("whe", row["id"])
        reason = {"disabled_reason": row["disabled_reason"]}
        await record_audit(tx, by, "webhook_endpoint.disabled", shown, after=reason)
        await publish(tx, TOPIC_DISABLED, merchant=row["merchant"], noun=row["id"])
        why = "gone" if row["id"] in gone else "failing"
        await tx.run(_NOTIFY, row["merchant"], row["id"], why)
        metrics.webhook_endpoints_disabled.inc()
        _log.warning("a webhook endpoint was disabled", endpoint=shown, **reason)
