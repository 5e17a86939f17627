-- A reference of the caller's own, such as the number of its sale: one card, one order.
alter table card add column reference text;
alter table orders add column reference text;
