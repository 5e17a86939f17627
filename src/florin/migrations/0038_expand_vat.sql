-- How VAT falls on the cards of a program (Directive 2006/112/EC, articles 30a and 30b): on a single-purpose voucher when
-- it is sold, at `vat_rate` (hundredths of a percent) of `vat_country`; on others, which have neither, when they are
-- spent. Items and cards keep what their program said when they were sold.
alter table program add column if not exists vat_country text, add column if not exists vat_rate integer;
alter table order_item add column if not exists vat_country text, add column if not exists vat_rate integer;
alter table card add column if not exists vat_country text, add column if not exists vat_rate integer;
