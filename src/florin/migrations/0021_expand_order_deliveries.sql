-- How the cards of an order's item are delivered; null: by e-mail, once the order is paid.
alter table order_item add column deliver_channel text;
alter table order_item add column deliver_at text;  -- as in delivery.local_time: asked for, without offset, in deliver_zone
alter table order_item add column deliver_zone text;
alter table order_item add column deliver_due timestamptz;   -- follows from both
alter table order_item add column deliver_locale text;
