-- Money for an order that needs none, of all merchants and of one: what of it was not returned.
create index concurrently if not exists payment_surplus on payment (merchant, id) where surplus;
