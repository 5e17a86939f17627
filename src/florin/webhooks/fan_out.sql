-- Fan-out: make deliveries of the events that each enabled endpoint has not seen, in the order of
-- the merchant's events, and move its cursor. Nothing is written by the transactions that move money:
-- this follows their events up to the instant before which none can be added any more. p_each, p_most:
-- how many deliveries for an endpoint, and in all. Returns how many were made, and whether more wait.
create function webhook_fan_out(p_each integer, p_most integer, p_days integer,
  out made integer, out more boolean)
language plpgsql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set enable_bitmapscan = off set jit = off as $$
declare
  e_merchant uuid[]; e_id uuid[]; e_until timestamptz[]; here timestamptz := clock_timestamp();
begin
  -- The snapshot of this statement is older than what it reads of the locks, and the next statement's
  -- is newer: a transaction that is seen as ended has its events in there. Random order: under the
  -- limit no endpoint is always the last.
  with settled as materialized (
    select coalesce(oldest_money(), statement_timestamp()) as until
  )
  select array_agg(w.merchant order by w.turn), array_agg(w.id order by w.turn),
    array_agg(w.until order by w.turn)
  into e_merchant, e_id, e_until
  from (
    select e.merchant, e.id, s.until + m.clock_offset as until, random() as turn
    from webhook_endpoint e join merchant m on m.id = e.merchant cross join settled s
    where e.state = 'enabled' and not m.clock_moving
  ) w;
  with picked as materialized (
    select w.merchant, w.id as endpoint, e.cursor_at, e.cursor_event, x.id as event, x.type,
      x.card, x.created_at
    from unnest(e_merchant, e_id, e_until) w (merchant, id, until)
    join webhook_endpoint e on e.merchant = w.merchant and e.id = w.id
    cross join lateral (
      with recursive types as (
        (select z.type from event z where z.merchant = w.merchant order by z.type limit 1)
        union all
        select (select z.type from event z where z.merchant = w.merchant and z.type > k.type
          order by z.type limit 1) from types k where k.type is not null
      )
      select v.* from types k cross join lateral (
        select z.id, z.type, z.card, z.created_at from event z
        where z.merchant = w.merchant and z.type = k.type
          and (z.created_at, z.id) > (e.cursor_at, e.cursor_event) and z.created_at < w.until
        order by z.created_at, z.id limit p_each
      ) v
      where k.type = any (e.events) or '*' = any (e.events)
        or split_part(k.type, '.', 1) || '.*' = any (e.events)
      order by v.created_at, v.id limit p_each
    ) x
    limit p_most
  ), moved as (
    -- Not the cursor that a replay set back meanwhile.
    update webhook_endpoint e set cursor_at = l.created_at, cursor_event = l.event
    from (
      select distinct on (p.merchant, p.endpoint) p.* from picked p
      order by p.merchant, p.endpoint, p.created_at desc, p.event desc
    ) l
    where e.merchant = l.merchant and e.id = l.endpoint
      and e.cursor_at = l.cursor_at and e.cursor_event = l.cursor_event
    returning e.id
  ), added as (
    insert into webhook_delivery (merchant, id, endpoint, event, type, card, next_at, give_up_at)
    select p.merchant, new_id(), p.endpoint, p.event, p.type, p.card, here,
      here + make_interval(days => p_days)
    from picked p order by p.endpoint, p.created_at, p.event
    on conflict (merchant, endpoint, event) do update set state = 'pending', -- a replay
      next_at = excluded.next_at, give_up_at = excluded.give_up_at, position = excluded.position
    returning endpoint
  ), counted as (
    select count(*) as n from added group by endpoint
  )
  select coalesce(sum(c.n), 0)::integer, coalesce(max(c.n) >= p_each or sum(c.n) >= p_most, false)
  into made, more from counted c;
end $$;

-- The lanes with deliveries that are due.
create function webhook_due_lanes() returns setof smallint
language sql volatile set search_path from current set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off as $$
  select distinct e.lane from florin.webhook_endpoint e
  where e.state = 'enabled' and (e.paused_until is null or e.paused_until <= clock_timestamp())
    and exists (select from florin.webhook_delivery d where d.merchant = e.merchant
      and d.endpoint = e.id and d.state = 'pending' and d.next_at <= clock_timestamp())
$$;

-- Due deliveries of a lane's endpoints, without those that are busy: p_each for an endpoint, one
-- where it failed several times in a row.
create function webhook_due(p_lane smallint, p_busy uuid[], p_each integer, p_most integer,
  p_suspect integer)
returns table (merchant uuid, endpoint uuid, url text, failures integer, secret_sealed bytea,
  previous_sealed bytea, id uuid, event uuid, card uuid, attempts integer, give_up_at timestamptz)
language sql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off as $$
  select e.merchant, e.id, e.url, e.failures, e.secret_sealed,
    case when e.previous_until > clock_timestamp() then e.previous_sealed end,
    d.id, d.event, d.card, d.attempts, d.give_up_at
  from florin.webhook_endpoint e cross join lateral (
    select z.* from florin.webhook_delivery z where z.merchant = e.merchant and z.endpoint = e.id
      and z.state = 'pending' and z.next_at <= clock_timestamp()
    order by z.next_at, z.position
    limit case when e.failures >= p_suspect then 1 else p_each end
  ) d
  where e.lane = p_lane and e.state = 'enabled' and e.id <> all (p_busy)
    and (e.paused_until is null or e.paused_until <= clock_timestamp())
  limit p_most
$$;
