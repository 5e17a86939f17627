-- The inbox of webhooks of gateways: each event once. Its body decides nothing and is not stored.
create table gateway_event (
  merchant uuid not null references merchant (id),
  gateway uuid not null,    -- all zeros: the installation's account
  event_ref text not null,
  type text not null,
  object_ref text not null, -- the payment that it is about
  seen integer not null default 1, -- how often it came
  received_at timestamptz not null,
  primary key (merchant, gateway, event_ref)
);
create index gateway_event_by_age on gateway_event (received_at);
