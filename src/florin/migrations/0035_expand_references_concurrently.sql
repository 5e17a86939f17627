create unique index concurrently if not exists card_by_reference on card (merchant, reference)
  where reference is not null;
create unique index concurrently if not exists orders_by_reference on orders (merchant, reference)
  where reference is not null;
