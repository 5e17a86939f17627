-- The number to which cards of an order are sent by SMS, in E.164: a card does not keep it.
alter table order_item add column deliver_phone text;
