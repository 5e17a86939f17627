-- Quotas: what one merchant may have, so that the others find room.

-- Where a merchant's limit is another than the usual one (see ledger/quotas.sql).
create table quota (
  merchant uuid not null references merchant (id),
  name text not null,
  most bigint not null check (most >= 0),
  primary key (merchant, name)
);

-- Cards that were asked for, by day (UTC). Shards, so that calls do not wait for each other.
create table quota_use (
  merchant uuid not null,
  day date not null,
  shard smallint not null,
  cards bigint not null,
  primary key (merchant, day, shard)
) with (fillfactor = 50);
create index quota_use_by_day on quota_use (day);
