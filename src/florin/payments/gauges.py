"""Gauges: money at gateways that is not explained, and disputes, as the database knows them."""

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import Row
from florin.kit.postgres.row_gauges import RowGauges

# As the report of gateways has it, of all merchants that take real money.
_READ = """
select count(*) as payments,
  coalesce(extract(epoch from clock_timestamp() - min(p.paid_at)), 0)::float8 as oldest_s,
  (select count(*) from florin.dispute d join florin.merchant z on z.id = d.merchant
    and not z.test where d.state = 'open') as disputes,
  (select count(*) from florin.dispute d join florin.merchant z on z.id = d.merchant
    and not z.test where d.state = 'open'
    and d.due_at < clock_timestamp() + interval '3 days') as disputes_due
from florin.orders o join florin.merchant m on m.id = o.merchant and not m.test
join florin.payment p on p.merchant = o.merchant and p.orders = o.id
where o.state = 'review' and p.state = 'paid' and p.received > p.refunded
"""


class PaymentGauges(RowGauges):
    """Updates the metrics of payments."""

    query = _READ

    def show(self, row: Row) -> None:
        metrics.unexplained_payments.set(row["payments"])
        metrics.unexplained_oldest_seconds.set(row["oldest_s"])
        metrics.disputes_open.set(row["disputes"])
        metrics.disputes_due.set(row["disputes_due"])
