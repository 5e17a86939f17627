-- The comparison of the ledger's totals with its entries: one row, so that all instances report the
-- same and one of them at a time compares.

create table ledger_check (
  one boolean primary key default true check (one),
  due_at timestamptz not null default clock_timestamp(), -- from when on the next one may begin
  checked_at timestamptz,
  seconds double precision, -- its duration
  totals jsonb              -- see reports/ledger_totals.sql
);
insert into ledger_check default values;
