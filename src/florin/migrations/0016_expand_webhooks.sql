-- Webhooks: the endpoints of merchants, and what is delivered to each.

create table webhook_endpoint (
  merchant uuid not null references merchant (id),
  id uuid not null,
  url text not null,
  events text[] not null,            -- names of types, `card.*` or `*`
  description text,
  state text not null default 'enabled' check (state in ('enabled', 'disabled', 'deleted')),
  disabled_reason text,
  secret_sealed bytea not null,      -- AES-256-GCM, bound to merchant and endpoint
  previous_sealed bytea,             -- during a rotation both sign
  previous_until timestamptz,
  lane smallint not null,            -- the job that delivers to it
  -- The last event that became a delivery, in the order of the merchant's events.
  cursor_at timestamptz not null,
  cursor_event uuid not null,
  failures integer not null default 0,   -- since the last success
  failing_since timestamptz,
  paused_until timestamptz,              -- after repeated failures
  made_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id),
  constraint webhook_endpoint_disabled check ((state = 'disabled') = (disabled_reason is not null))
) with (fillfactor = 50);
create index webhook_endpoint_enabled on webhook_endpoint (lane) where state = 'enabled';

create sequence webhook_delivery_position;

-- One row for each event and endpoint. No foreign key to the endpoint: its check would lock the
-- endpoint's row for each delivery; endpoints are marked as deleted and removed after their rows.
create table webhook_delivery (
  merchant uuid not null,
  id uuid not null,
  endpoint uuid not null,
  event uuid not null,
  type text not null,
  card uuid,
  state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
  position bigint not null default nextval('florin.webhook_delivery_position'),
  attempts integer not null default 0,
  next_at timestamptz not null,
  give_up_at timestamptz not null,
  log jsonb not null default '[]',     -- the last attempts, oldest first
  created_at timestamptz not null default clock_timestamp(),
  delivered_at timestamptz,
  primary key (merchant, id),
  unique (merchant, endpoint, event)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
create index webhook_delivery_due on webhook_delivery (merchant, endpoint, next_at, position)
  where state = 'pending';
create index webhook_delivery_by_age on webhook_delivery (created_at);
create index webhook_delivery_by_endpoint on webhook_delivery (merchant, endpoint, id);

-- While the clock of a test merchant is moved, its events are not settled: no delivery is made.
alter table merchant add column clock_moving boolean not null default false;
