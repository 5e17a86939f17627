-- Quotas: the default limits of a merchant, by name.
create function quotas() returns table (name text, most bigint)
language sql immutable set search_path from current as $$
  values ('cards_per_day', 5000000::bigint), ('open_jobs', 20), ('event_streams', 20),
    ('api_keys', 1000), ('members', 1000), ('webhook_endpoints', 50), ('gateways', 20)
$$;

create function quota_limit(p_merchant uuid, p_name text) returns bigint
language sql stable set search_path from current as $$
  select coalesce(
    (select q.most from florin.quota q where q.merchant = p_merchant and q.name = p_name),
    (select d.most from quotas() d where d.name = p_name))
$$;

-- The number of cards that a merchant may still request today.
create function cards_left(p_merchant uuid) returns bigint
language sql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
  select quota_limit(p_merchant, 'cards_per_day') - coalesce((
    select sum(u.cards) from florin.quota_use u
    where u.merchant = p_merchant and u.day = (clock_timestamp() at time zone 'UTC')::date
  ), 0)::bigint
$$;

-- Count a job: p_cards of today's cards and one more open job. Returns null, or the name of the quota
-- that would be exceeded. The merchant's row is locked until the end of the transaction, so that the
-- second of two concurrent requests sees the first.
create function take_job_quota(p_merchant uuid, p_queue text, p_cards integer)
returns text
language plpgsql volatile security definer set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  perform from merchant m where m.id = p_merchant for no key update;
  if (select count(*) from queue_job j where j.queue = p_queue and j.merchant = p_merchant
        and j.state <> 2)
      + (select count(*) from outbox o where o.queue = p_queue and o.merchant = p_merchant)
      >= quota_limit(p_merchant, 'open_jobs') then
    return 'open_jobs';
  end if;
  if p_cards > cards_left(p_merchant) then
    return 'cards_per_day';
  end if;
  insert into quota_use as u (merchant, day, shard, cards)
  values (p_merchant, (clock_timestamp() at time zone 'UTC')::date, pg_backend_pid() % 8, p_cards)
  on conflict (merchant, day, shard) do update set cards = u.cards + excluded.cards;
  return null;
end $$;
