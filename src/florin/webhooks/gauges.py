"""Gauges: metrics of webhooks that the database knows."""

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import Row
from florin.kit.postgres.row_gauges import RowGauges

# How long the oldest due delivery waits, of endpoints whose last attempt did not fail: those of
# others wait for their receiver.
_READ = """
select count(*) filter (where e.state = 'enabled' and e.failing_since is null) as enabled,
  count(*) filter (where e.state = 'enabled' and e.failing_since is not null) as failing,
  count(*) filter (where e.state = 'disabled') as disabled,
  coalesce(extract(epoch from clock_timestamp() - min(d.next_at)), 0)::float8 as oldest_s
from florin.webhook_endpoint e left join lateral (
  select z.next_at from florin.webhook_delivery z
  where e.state = 'enabled' and e.failing_since is null and z.merchant = e.merchant
    and z.endpoint = e.id and z.state = 'pending' and z.next_at <= clock_timestamp()
  order by z.next_at limit 1
) d on true
"""


class WebhookGauges(RowGauges):
    """Updates the metrics of webhooks."""

    query = _READ

    def show(self, row: Row) -> None:
        for state in metrics.WEBHOOK_ENDPOINT_STATES:
            metrics.webhook_endpoints.labels(state).set(row[state])
        metrics.webhook_oldest_seconds.set(row["oldest_s"])
