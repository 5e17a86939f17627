-- A merchant's own accounts at gateways. The installation's accounts have no row: their id is all zeros.
create table gateway (
  merchant uuid not null references merchant (id),
  id uuid not null,
  provider text not null check (provider in ('stripe', 'paypal')),
  live boolean not null,               -- for real money
  state text not null default 'on' check (state in ('on', 'off')),
  account text,                        -- the gateway's own name of the account, once it was tested
  sealed bytea not null,               -- its secrets as JSON: AES-256-GCM, bound to merchant and gateway
  previous_until timestamptz,          -- until then webhooks signed by the previous secret are accepted
  off_at timestamptz,                  -- since then it takes no new payments
  made_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id),
  constraint gateway_off check ((state = 'off') = (off_at is not null))
);
create unique index gateway_in_use on gateway (merchant, provider, live) where state = 'on';
create index gateway_by_id on gateway (id);  -- the address of its webhooks names no merchant
