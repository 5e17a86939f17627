"""Gauges: money at gateways that is not explained, and disputes, as the database knows them."""

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import Row
from florin.kit.postgres.row_gauges import RowGauges
from florin.payments.unexplained import UNEXPLAINED

# As the report of gateways has it, of all merchants that take real money.
_READ = f"""
select count(*) as payments,
  coalesce(extract(epoch from clock_timestamp() - min(u.paid_at)), 0)::float8 as oldest_s,
  (select count(*) from florin.dispute d join florin.merchant z on z.id = d.merchant
    and not z.test where d.state = 'open') as disputes,
  (select count(*) from florin.dispute d join florin.merchant z on z.id = d.merchant
    and not z.test where d.state = 'open'
    and d.due_at < clock_timestamp() + interval '3 days') as disputes_due
from ({UNEXPLAINED}) u join florin.merchant m on m.id = u.merchant and not m.test
"""  # noqa: S608 -- our own text


class PaymentGauges(RowGauges):
    """Updates the metrics of payments."""

    query = _READ

    def show(self, row: Row) -> None:
        metrics.unexplained_payments.set(row["payments"])
        metrics.unexplained_oldest_seconds.set(row["oldest_s"])
        metrics.disputes_open.set(row["disputes"])
        metrics.disputes_due.set(row["disputes_due"])
