-- Whether the storefront sells cards of a program. Those of programs that exist are sold, as before; cards with
-- imported codes are never sold.
alter table program add column for_sale boolean not null default true;
