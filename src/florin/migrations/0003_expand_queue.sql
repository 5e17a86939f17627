-- The queue: what is to be done, by whom it is being done, and what became of it. These tables are
-- the installation's, not a merchant's: their keys begin with no merchant.

-- One row a queue. Its rules are the newest worker's (see worker.py); `paused` is the operator's.
create table queue (
  name text primary key,
  importance smallint not null default 100,  -- the lower the sooner
  attempts smallint not null default 3 check (attempts >= 1),
  -- Jobs that run at the same time; null: no limit. The first is the limit of the whole fleet.
  max_running integer check (max_running >= 1),
  max_running_per_worker integer check (max_running_per_worker >= 1),
  max_running_per_merchant integer check (max_running_per_merchant >= 1),
  objective_s real,                          -- within which a job should begin; null: none
  per_second real check (per_second > 0),    -- jobs begun by the whole fleet; null: no limit
  tokens real not null default 1,            -- what is left of the second's jobs
  filled_at timestamptz not null default clock_timestamp(),
  paused boolean not null default false
);
insert into queue (name) values
  ('gift-card-expiry'), ('expiry-reminders'), ('email-delivery'), ('sms-delivery'),
  ('scheduled-delivery'), ('webhook-delivery'), ('cleanup-tokens'), ('bulk'), ('retention');

create sequence queue_fence;

create table queue_job (
  id bigint generated always as identity primary key,
  queue text not null, -- no foreign key: every job would lock its queue's row
  kind text not null,
  version smallint not null default 1,     -- of the payload
  state smallint not null default 0 check (state between 0 and 3), -- ready, active, dead, delayed
  priority smallint not null default 0,    -- the higher the sooner, within its queue
  attempts smallint not null default 0,    -- counted when a worker takes it
  crashes smallint not null default 0,     -- of them, how many lost their worker
  begun boolean not null default true,     -- taken by its worker: known of suspects only
  fence bigint,                            -- of the lease: every write names it
  worker uuid,
  lease_until timestamptz,
  due_at timestamptz not null default clock_timestamp(),
  created_at timestamptz not null default clock_timestamp(),
  dedupe text,
  payload jsonb not null,
  trace text,
  position text,                           -- of the log, so that a replica can be asked
  error text,
  merchant uuid,                           -- whose job it is; null: Florin's own
  place bigint not null default 0,         -- its turn: one of each merchant, then the next
  constraint queue_job_active check ((state = 1) = (fence is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500,
  autovacuum_analyze_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);
create index queue_job_line on queue_job (queue, priority desc, place, due_at, id) where state = 0;
create index queue_job_by_merchant on queue_job (queue, merchant, place)
  where state <> 2 and merchant is not null;
create index queue_job_active on queue_job (queue) where state = 1;
create index queue_job_delayed on queue_job (queue, due_at) where state = 3;
create index queue_job_dead on queue_job (queue, dedupe) where state = 2;
create unique index queue_job_once on queue_job (queue, dedupe)
  where state <> 2 and dedupe is not null;

-- The outbox: written in the transaction of a cause, emptied into the queue by any worker. A row
-- is a job that is asked for (`queue`) or a message (`topic`) for its followers.
create table outbox (
  id bigint generated always as identity primary key,
  topic text,
  merchant uuid,
  resource_id uuid,
  queue text,
  kind text,
  version smallint,
  priority smallint,
  due_at timestamptz,
  dedupe text,
  payload jsonb,
  trace text,
  created_at timestamptz not null default clock_timestamp(),
  constraint outbox_asks check ((topic is null) = (queue is not null and kind is not null))
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0);

-- Ticks of schedules that were taken: each once, however many workers there are.
create table queue_tick (
  schedule text not null,
  tick timestamptz not null,
  primary key (schedule, tick)
);

-- What happened, in slots of five seconds; shards, so that workers do not wait for each other.
-- Slots that are over an hour old are added up in the one at -infinity.
create table queue_flow (
  queue text not null,
  slot timestamptz not null,
  shard smallint not null,
  arrived bigint not null default 0,
  completed bigint not null default 0,
  failed bigint not null default 0,
  dead bigint not null default 0,
  run_s double precision not null default 0,
  primary key (queue, slot, shard)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

create table queue_worker (
  id uuid primary key,
  name text not null,
  release text not null,
  concurrency integer not null,
  busy integer not null default 0,
  stopping boolean not null default false,
  started_at timestamptz not null default clock_timestamp(),
  heartbeat_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- What was done to the queues by hand.
create table queue_audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  verb text not null,
  subject text not null,
  detail jsonb
);
create trigger queue_audit_is_append_only before update or delete or truncate on queue_audit
  for each statement execute function refuse_change();

-- One row that the instances renew while they watch replicas: its age on a replica shows how far that
-- is behind, also when nothing else is written, and when it is cut off.
create table heartbeat (
  id boolean primary key default true check (id),
  at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
insert into heartbeat default values;
