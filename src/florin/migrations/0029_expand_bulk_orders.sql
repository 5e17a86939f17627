-- Orders of many cards for the recipients of a list: their cards are issued by a job once they are paid.
alter table orders add column if not exists bulk boolean not null default false;
