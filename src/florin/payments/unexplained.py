"""Unexplained money: received, and neither are there cards for it nor is a refund on its way."""

from florin.payments.payment import DISPUTED

# A payment of an order in review, or a surplus whose refund failed. Where a surplus is disputed,
# the gateway decides about it. Two parts, since each has an index.
UNEXPLAINED = f"""
select p.merchant, p.id, p.orders, p.received - p.refunded as amount, p.received_currency,
  p.paid_at, o.review as reason
from florin.orders o join florin.payment p on p.merchant = o.merchant and p.orders = o.id
where o.state = 'review' and p.state = 'paid' and p.received > p.refunded
union all
select p.merchant, p.id, p.orders, p.received - p.refunded, p.received_currency, p.paid_at,
  'the order was paid by another payment or does not stand any more'
from florin.payment p join florin.orders o on o.merchant = p.merchant and o.id = p.orders
where p.surplus and p.state = 'paid' and p.received > p.refunded and o.state <> 'review'
  and not {DISPUTED}
"""  # noqa: S608 -- our own text
