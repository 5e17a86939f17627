"""Gauges: metrics of deliveries that the database knows."""

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import Row
from florin.kit.postgres.row_gauges import RowGauges

# Test merchants are left out: their clocks move, so the age of what they are owed has no meaning.
_READ = """
select count(*) as due,
  coalesce(extract(epoch from clock_timestamp() - min(d.due_at)), 0)::float8 as oldest_s
from florin.delivery d join florin.merchant m on m.id = d.merchant
where d.state in ('due', 'sending') and not m.test
"""


class DeliveryGauges(RowGauges):
    """Updates the metrics of deliveries."""

    query = _READ

    def show(self, row: Row) -> None:
        metrics.deliveries_due.set(row["due"])
        metrics.deliveries_oldest_seconds.set(max(0.0, row["oldest_s"]))
