-- Money without a counterpart, of all merchants: for the metric.
create index concurrently if not exists orders_in_review on orders (merchant, id)
  where state = 'review';
