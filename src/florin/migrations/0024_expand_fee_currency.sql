-- The currency of a gateway's fees: that in which the account is settled. Null: no fee was booked since.
alter table payment add column fee_currency text;
