-- The queue's verbs. A job is ready (0), active (1), dead (2) or delayed (3); done, it is deleted.
-- The worker that claimed a job names its fence in every later write: a worker that lost its lease, and does
-- not know, changes nothing. Times are the database's.
--
-- Plans are pinned: these tables are empty and full by turns, and statistics lag behind. Rows that
-- are picked and locked are named by `id = any (array(select ...))`, which runs once. In a join the
-- planner, who believes the table empty, may run the pick again for every row of it: each run locks
-- others, so that a claim of 400 jobs takes all there are, after minutes.

-- The places of jobs that become ready, in their order: one of each merchant is a turn, and a merchant
-- that has many jobs has one in each turn from the present one on. So a new merchant's first job is
-- before all but the first of everyone else's. Jobs without a merchant have the place 0: they go
-- first. The present turn is that of the job that is the next. Within a turn the earliest due is first.
create function queue_places(
  p_queue text[], p_priority integer[], p_merchant uuid[]
) returns bigint[]
language plpgsql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
begin
  if coalesce(array_remove(p_merchant, null), '{}') = '{}' then
    return array_fill(0::bigint, array[coalesce(cardinality(p_merchant), 0)]);
  end if;
  return (
    with item as materialized (
      select i.queue, coalesce(i.priority, 0) priority, i.merchant, i.n,
        row_number() over (partition by i.queue, i.merchant order by i.n) - 1 nth
      from unnest(p_queue, p_priority, p_merchant) with ordinality
        as i (queue, priority, merchant, n)
    ), line as materialized (
      select i.queue, i.priority, i.merchant from item i where i.merchant is not null group by 1, 2, 3
    ), begins as materialized (
      select l.*, greatest(
        coalesce((select j.place from queue_job j where j.queue = l.queue
          and j.priority = l.priority and j.state = 0 and j.place > 0 order by j.place limit 1), 1),
        coalesce((select j.place + 1 from queue_job j where j.queue = l.queue
          and j.merchant = l.merchant and j.state <> 2 order by j.place desc limit 1), 1)) place
      from line l
    )
    select array_agg(coalesce(b.place + i.nth, 0) order by i.n)
    from item i left join begins b
      on b.queue = i.queue and b.priority = i.priority and b.merchant = i.merchant
  );
end $$;

-- Take up to p_most jobs of the queues, the most important first; of the kinds, and versions of
-- their payload, that the caller reads. The attempt is counted now: one that kills its worker is
-- an attempt, too. p_wants: how many of each queue at most.
create function queue_claim(
  p_worker uuid, p_queues text[], p_wants integer[], p_most integer, p_kinds text[],
  p_versions integer[], p_lease interval
) returns table (
  id bigint, queue text, kind text, version smallint, priority smallint, attempts smallint,
  crashes smallint, fence bigint, payload text, trace text, log_position text, waited_s double precision,
  place bigint
)
language plpgsql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  asked record; n integer; most integer := p_most; taken integer; found_now integer;
  right_now timestamptz; due bigint[]; due_priority integer[]; due_merchant uuid[];
  full_up uuid[]; -- merchants with as many running jobs as they may have
begin
  for asked in
    select q.name, q.max_running, q.max_running_per_merchant, q.per_second, w.want
    from unnest(p_queues, p_wants) w (name, want) join queue q on q.name = w.name
    where not q.paused and w.want > 0 order by q.importance, q.name
  loop
    exit when most <= 0;
    right_now := clock_timestamp();
    -- What was delayed and is due becomes ready.
    if exists (select from queue_job j
        where j.queue = asked.name and j.state = 3 and j.due_at <= right_now) then
      due := array(select z.id from queue_job z where z.queue = asked.name and z.state = 3
        and z.due_at <= right_now order by z.due_at limit 1000 for update skip locked);
      select array_agg(z.id order by z.due_at, z.id),
        array_agg(z.priority::integer order by z.due_at, z.id),
        array_agg(z.merchant order by z.due_at, z.id)
      into due, due_priority, due_merchant from queue_job z where z.id = any (due);
      update queue_job j set state = 0, place = w.place -- none where all are held elsewhere
      from unnest(due, queue_places(array_fill(asked.name, array[coalesce(cardinality(due), 0)]),
        due_priority, due_merchant)) as w (id, place)
      where j.id = w.id;
    end if;
    continue when not exists (
      select from queue_job j where j.queue = asked.name and j.state = 0);
    n := least(most, asked.want);
    if asked.max_running is not null or asked.per_second is not null
        or asked.max_running_per_merchant is not null then
      n := queue_allowance(asked.name, n);
    end if;
    continue when n <= 0;
    taken := 0;
    full_up := '{}';
    loop -- once; where merchants have a limit one by one, for each take may fill one up
      if asked.max_running_per_merchant is not null then
        full_up := array(select z.merchant from queue_job z
          where z.queue = asked.name and z.state = 1 and z.merchant is not null
          group by z.merchant having count(*) >= asked.max_running_per_merchant);
      end if;
      return query
        update queue_job j
        set state = 1, attempts = j.attempts + 1,
          fence = nextval('queue_fence'), worker = p_worker, lease_until = right_now + p_lease, begun = j.crashes = 0
        where j.id = any (array(
          select z.id from queue_job z
          where z.queue = asked.name and z.state = 0 and exists (
            select from unnest(p_kinds, p_versions) k (kind, version)
            where k.kind = z.kind and k.version >= z.version)
            and (z.merchant is null or z.merchant <> all (full_up))
          order by z.priority desc, z.place, z.due_at, z.id
          limit case when asked.max_running_per_merchant is null then n else 1 end
          for update skip locked))
        returning j.id, j.queue, j.kind, j.version, j.priority, j.attempts, j.crashes, j.fence,
          j.payload::text, j.trace, j.position,
          extract(epoch from right_now - j.due_at)::double precision, j.place;
      get diagnostics found_now = row_count;
      taken := taken + found_now;
      exit when asked.max_running_per_merchant is null or found_now = 0 or taken >= n;
    end loop;
    most := most - taken;
    if asked.per_second is not null and taken < n then
      update queue q set tokens = q.tokens + (n - taken) where q.name = asked.name;
    end if;
  end loop;
end $$;

-- How many of p_n jobs the queue's limits for the whole fleet allow now. The queue's row is locked
-- until the claim commits, so that two claims do not both take the last place; a claim that finds
-- it locked takes nothing and asks again.
create function queue_allowance(p_queue text, p_n integer) returns integer
language plpgsql volatile set search_path from current as $$
declare
  rule record; n integer := p_n; tokens_now real;
begin
  select q.max_running, q.per_second, q.tokens, q.filled_at into rule
  from queue q where q.name = p_queue for no key update skip locked;
  if not found then
    return 0;
  end if;
  if rule.max_running is not null then
    n := least(n, rule.max_running - (
      select count(*) from queue_job j where j.queue = p_queue and j.state = 1)::integer);
  end if;
  if rule.per_second is not null and n > 0 then
    tokens_now := least(greatest(rule.per_second, 1), rule.tokens + rule.per_second
      * extract(epoch from clock_timestamp() - rule.filled_at));
    n := least(n, floor(tokens_now)::integer);
    update queue q set tokens = tokens_now - greatest(n, 0), filled_at = clock_timestamp()
    where q.name = p_queue;
  end if;
  return n;
end $$;

-- Keep leases: of those not held by an effect's own transaction. Returns the fences that were lost.
-- A fence was given once, to one job: that both are in their lists says that they belong together.
create function queue_heartbeat(p_ids bigint[], p_fences bigint[], p_lease interval)
returns setof bigint
language plpgsql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  update queue_job j set lease_until = clock_timestamp() + p_lease where j.id = any (array(
    select z.id from queue_job z where z.id = any (p_ids) and z.fence = any (p_fences)
    for update skip locked));
  return query select unnest(p_fences)
    except select z.fence from queue_job z where z.id = any (p_ids) and z.fence = any (p_fences);
end $$;

-- Hold a lease within the transaction of an effect: from here to its end no other worker takes the
-- job. False when the lease was lost: the effect must not happen.
create function queue_hold(p_id bigint, p_fence bigint, p_lease interval)
returns boolean
language plpgsql volatile set search_path from current as $$
begin
  update queue_job j set lease_until = clock_timestamp() + p_lease
  where j.id = p_id and j.fence = p_fence;
  return found;
end $$;

-- The same for the jobs of one worker that share a transaction: returns the fences that it holds. It
-- waits for no one: a job that another transaction has, even that of the heartbeat, is left out.
create function queue_hold_all(p_ids bigint[], p_fences bigint[], p_lease interval)
returns setof bigint
language plpgsql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  return query update queue_job j set lease_until = clock_timestamp() + p_lease
  where j.id = any (array(
    select z.id from queue_job z where z.id = any (p_ids) and z.fence = any (p_fences)
    for update skip locked))
  returning j.fence;
end $$;

-- Done: the jobs that were still ours are gone. Returns their ids.
create function queue_complete(p_ids bigint[], p_fences bigint[])
returns setof bigint
language sql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
  delete from florin.queue_job j where j.id = any (p_ids) and j.fence = any (p_fences)
  returning j.id
$$;

-- Failed: try again after a delay, or, all attempts used up, keep it as dead. Returns whether it
-- is dead; null when it was not ours.
create function queue_fail(
  p_id bigint, p_fence bigint, p_error text, p_delay interval, p_final boolean
) returns boolean
language sql volatile set search_path from current as $$
  update florin.queue_job j
  set state = case when p_final or j.attempts >= q.attempts then 2 else 3 end, fence = null,
    worker = null, lease_until = null, error = p_error,
    due_at = case when p_final or j.attempts >= q.attempts then j.due_at
      else clock_timestamp() + p_delay end
  from florin.queue q
  where j.id = p_id and j.fence = p_fence and q.name = j.queue
  returning j.state = 2
$$;

-- Give back: not begun, or not finished by a worker that stops. The attempt does not count.
create function queue_give_back(p_ids bigint[], p_fences bigint[]) returns void
language sql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
  update florin.queue_job j set state = 0, fence = null, worker = null, lease_until = null,
    attempts = j.attempts - 1
  where j.id = any (p_ids) and j.fence = any (p_fences)
$$;

-- Again: one slice of a long job is done, the next one waits for its turn like any other job: after
-- the present one of every other merchant.
create function queue_continue(p_id bigint, p_fence bigint, p_delay interval)
returns boolean
language plpgsql volatile set search_path from current as $$
begin
  update queue_job j set state = case when p_delay > '0' then 3 else 0 end, fence = null,
    worker = null, lease_until = null, attempts = 0, crashes = 0, error = null,
    place = (queue_places(array[j.queue], array[j.priority::integer], array[j.merchant]))[1],
    due_at = clock_timestamp() + p_delay
  where j.id = p_id and j.fence = p_fence;
  return found;
end $$;

-- Reap: leases that ran out. Their jobs are ready again, or dead when all attempts are used up. A
-- suspect, one that lost a worker before, whose turn had not come there is none the worse for it.
create function queue_reap() returns table (queue text, dead boolean)
language sql volatile set search_path from current
set enable_seqscan = off as $$
  update florin.queue_job j
  set state = case when j.begun and j.attempts >= r.attempts then 2 else 0 end, fence = null,
    worker = null, lease_until = null, crashes = j.crashes + j.begun::integer,
    attempts = j.attempts - (not j.begun)::integer,
    error = case when j.begun then
      'the worker that ran it was lost' || coalesce('; before that: ' || j.error, '')
      else j.error end
  from florin.queue r
  where r.name = j.queue and j.id = any (array(
    select z.id from florin.queue_job z
    where z.queue = any (array(select q.name from florin.queue q)) and z.state = 1
      and z.lease_until < clock_timestamp() for update skip locked))
  returning j.queue, j.state = 2
$$;

-- Begin: the turn of a suspect has come. False when the lease was lost.
create function queue_begin(p_id bigint, p_fence bigint) returns boolean
language plpgsql volatile set search_path from current as $$
begin
  update queue_job j set begun = true where j.id = p_id and j.fence = p_fence;
  return found;
end $$;

-- Put jobs into the queue. One whose dedupe key waits or runs already is left out. Returns how
-- many were put.
create function queue_put(
  p_queue text[], p_kind text[], p_version integer[], p_payload text[], p_priority integer[],
  p_due_at timestamptz[], p_dedupe text[], p_trace text[], p_position text
) returns integer
language plpgsql volatile set search_path from current as $$
declare
  n integer;
  merchants constant uuid[] := array(select (i.payload::jsonb->>'merchant')::uuid
    from unnest(p_payload) with ordinality as i (payload, n) order by i.n);
begin
  with made as (
    insert into queue_job (queue, kind, version, payload, priority, due_at, dedupe, trace, position,
      state, merchant, place)
    select i.queue, i.kind, i.version, i.payload::jsonb, coalesce(i.priority, 0),
      coalesce(i.due_at, clock_timestamp()), i.dedupe, i.trace, p_position,
      case when i.due_at > clock_timestamp() then 3 else 0 end, i.merchant,
      case when i.due_at > clock_timestamp() then 0 else i.place end
    from unnest(p_queue, p_kind, p_version, p_payload, p_priority, p_due_at, p_dedupe, p_trace,
        merchants, queue_places(p_queue, p_priority, merchants))
      as i (queue, kind, version, payload, priority, due_at, dedupe, trace, merchant, place)
    on conflict (queue, dedupe) where state <> 2 and dedupe is not null do nothing
    returning queue
  ), counted as (
    insert into queue_flow as f (queue, slot, shard, arrived)
    select m.queue, queue_slot(), pg_backend_pid() % 8, count(*) from made m group by 1
    order by 1
    on conflict (queue, slot, shard) do update set arrived = f.arrived + excluded.arrived
  )
  select count(*) into n from made;
  return n;
end $$;

create function queue_slot() returns timestamptz
language sql volatile set search_path from current as $$
  select date_bin('5 seconds', clock_timestamp(), timestamptz '2020-01-01')
$$;

-- Relay: move what lies in the outbox into the queue, in one statement: a row is here or there.
-- A job goes to the queue it names, a message to everyone who follows its topic. Returns how many
-- rows were taken and how many jobs came of them.
create function queue_relay(
  p_patterns text[], p_queues text[], p_kinds text[], p_versions integer[], p_most integer,
  out taken integer, out put integer
)
language plpgsql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off as $$
declare
  here text := to_hex(('x' || substring(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)
    ::bigint) || '.' || to_hex((pg_current_wal_insert_lsn() - '0/0')::bigint);
begin
  with rows as (
    delete from outbox o where o.id = any (array(
      select z.id from outbox z order by z.id limit p_most for update skip locked))
    returning o.*
  ), asked as (
    select r.id, r.queue, r.kind, r.version, r.priority, r.due_at, r.dedupe, r.payload, r.trace,
      (r.payload->>'merchant')::uuid merchant
    from rows r where r.queue is not null
    union all
    select r.id, f.queue, f.kind, f.version, null, null, null,
      jsonb_build_object('topic', r.topic, 'merchant', r.merchant, 'resource_id', r.resource_id), r.trace,
      r.merchant
    from rows r
    join unnest(p_patterns, p_queues, p_kinds, p_versions) f (pattern, queue, kind, version)
      on r.topic like f.pattern
    where r.topic is not null
  ), wanted as materialized (
    select a.*, row_number() over (order by a.id) n from asked a
  ), line as materialized (
    select queue_places(array_agg(w.queue order by w.n),
      array_agg(w.priority::integer order by w.n), array_agg(w.merchant order by w.n)) places
    from wanted w having count(*) > 0
  ), made as (
    insert into queue_job (queue, kind, version, payload, priority, due_at, dedupe, trace, position,
      state, merchant, place)
    select w.queue, w.kind, coalesce(w.version, 1), coalesce(w.payload, '{}'),
      coalesce(w.priority, 0), coalesce(w.due_at, clock_timestamp()), w.dedupe, w.trace, here,
      case when w.due_at > clock_timestamp() then 3 else 0 end, w.merchant,
      case when w.due_at > clock_timestamp() then 0 else (select l.places from line l)[w.n] end
    from wanted w order by w.n
    on conflict (queue, dedupe) where state <> 2 and dedupe is not null do nothing
    returning queue
  ), counted as (
    insert into queue_flow as f (queue, slot, shard, arrived)
    select m.queue, queue_slot(), pg_backend_pid() % 8, count(*) from made m group by 1
    order by 1
    on conflict (queue, slot, shard) do update set arrived = f.arrived + excluded.arrived
  )
  select (select count(*) from rows), (select count(*) from made) into taken, put;
end $$;

-- Tick: put the job of a schedule's tick, once for each tick, by the first worker.
create function queue_tick(
  p_schedule text, p_tick timestamptz, p_queue text, p_kind text, p_version integer, p_payload text
) returns boolean
language plpgsql volatile set search_path from current as $$
begin
  insert into queue_tick (schedule, tick) values (p_schedule, p_tick) on conflict do nothing;
  if not found then
    return false;
  end if;
  perform queue_put(array[p_queue], array[p_kind], array[p_version], array[p_payload],
    array[0], array[null::timestamptz], array['tick:' || p_schedule], array[null::text], null);
  return true;
end $$;

-- Count what a worker did since it counted last.
create function queue_count(
  p_queue text[], p_completed bigint[], p_failed bigint[], p_dead bigint[],
  p_run_s double precision[]
) returns void
language sql volatile set search_path from current as $$
  insert into florin.queue_flow as f (queue, slot, shard, completed, failed, dead, run_s)
  select i.queue, queue_slot(), pg_backend_pid() % 8, i.completed, i.failed, i.dead, i.run_s
  from unnest(p_queue, p_completed, p_failed, p_dead, p_run_s)
    as i (queue, completed, failed, dead, run_s)
  on conflict (queue, slot, shard) do update set completed = f.completed + excluded.completed,
    failed = f.failed + excluded.failed, dead = f.dead + excluded.dead,
    run_s = f.run_s + excluded.run_s
$$;

-- Prune what only the last hour needs; totals stay.
create function queue_prune() returns void
language plpgsql volatile set search_path from current as $$
begin
  with old as (
    delete from queue_flow f where f.slot < clock_timestamp() - interval '1 hour'
      and f.slot > '-infinity' returning f.*
  )
  insert into queue_flow as f (queue, slot, shard, arrived, completed, failed, dead, run_s)
  select o.queue, '-infinity', 0, sum(o.arrived), sum(o.completed), sum(o.failed), sum(o.dead),
    sum(o.run_s)
  from old o group by 1
  on conflict (queue, slot, shard) do update set arrived = f.arrived + excluded.arrived,
    completed = f.completed + excluded.completed, failed = f.failed + excluded.failed,
    dead = f.dead + excluded.dead, run_s = f.run_s + excluded.run_s;
  delete from queue_tick t where t.tick < clock_timestamp() - interval '7 days'
    and t.tick < (select max(z.tick) from queue_tick z where z.schedule = t.schedule);
  delete from queue_worker w where w.heartbeat_at < clock_timestamp() - interval '10 minutes';
end $$;

-- What there is to see of each queue, empty ones too: for metrics, for the operator, and for
-- the function that decides how many workers there should be. Rates are of whole slots: the last two (ten
-- seconds) and the last six (thirty).
create function queue_facts() returns table (
  name text, importance smallint, paused boolean, objective_s double precision, waiting bigint, delayed bigint, active bigint,
  dead bigint, oldest_s double precision, arrived bigint, completed bigint, failed bigint,
  died bigint, arrivals_10s double precision, arrivals_30s double precision,
  completions_30s double precision, service_s double precision, failing double precision
)
language sql stable set search_path from current as $$
  select q.name, q.importance, q.paused, q.objective_s::float8, coalesce(j.waiting, 0), coalesce(j.delayed, 0),
    coalesce(j.active, 0), coalesce(j.dead, 0), coalesce(j.oldest_s, 0),
    coalesce(f.arrived, 0), coalesce(f.completed, 0), coalesce(f.failed, 0), coalesce(f.dead, 0),
    coalesce(f.arrived_10s, 0) / 10.0, coalesce(f.arrived_30s, 0) / 30.0,
    coalesce(f.completed_30s, 0) / 30.0, f.service_s, coalesce(f.failing, 0)
  from queue q
  left join (
    select z.queue,
      count(*) filter (where z.state = 0 or z.state = 3 and z.due_at <= clock_timestamp()) waiting,
      count(*) filter (where z.state = 3 and z.due_at > clock_timestamp()) delayed,
      count(*) filter (where z.state = 1) active, count(*) filter (where z.state = 2) dead,
      extract(epoch from clock_timestamp() - min(z.due_at) filter (
        where z.state = 0 or z.state = 3 and z.due_at <= clock_timestamp()))::float8 oldest_s
    from queue_job z group by 1
  ) j on j.queue = q.name
  left join (
    select z.queue, sum(z.arrived)::bigint arrived, sum(z.completed)::bigint completed,
      sum(z.failed)::bigint failed, sum(z.dead)::bigint dead,
      sum(z.arrived) filter (where z.slot >= s.slot - interval '10 s' and z.slot < s.slot)::float8 arrived_10s,
      sum(z.arrived) filter (where z.slot >= s.slot - interval '30 s' and z.slot < s.slot)::float8 arrived_30s,
      sum(z.completed) filter (where z.slot >= s.slot - interval '30 s' and z.slot < s.slot)::float8 completed_30s,
      sum(z.run_s) filter (where z.slot >= s.slot - interval '5 minutes')
        / nullif(sum(z.completed + z.failed) filter (
          where z.slot >= s.slot - interval '5 minutes'), 0) service_s,
      sum(z.failed) filter (where z.slot >= s.slot - interval '60 s')::float8
        / nullif(sum(z.completed + z.failed) filter (
          where z.slot >= s.slot - interval '60 s'), 0) failing
    from queue_flow z, (select queue_slot() slot) s group by 1
  ) f on f.queue = q.name
  order by q.importance, q.name
$$;
