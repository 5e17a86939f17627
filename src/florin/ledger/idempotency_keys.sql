-- Claim: insert the keys of a call, sorted, before any card is locked. When another transaction holds a
-- key, this one waits, p_patience ms at most; a key that is still held then stays unclaimed. Returns the
-- ids of the items that claimed their key. Every other key existed before; it may have an item's own id,
-- when an earlier attempt of the same call was committed and its answer was lost.
create function claim_keys(
  p_merchant uuid[], p_key text[], p_operation text[], p_fingerprint bytea[], p_id uuid[],
  p_simulate boolean[], p_patience integer
) returns uuid[]
language plpgsql volatile set search_path from current as $$
declare
  item record;
  claimed uuid[] := '{}';
begin
  with made as (
    insert into idempotency (merchant, key, operation, fingerprint, resource_id, created_at)
    select distinct on (i.m, i.key) i.m, i.key, i.operation, i.fingerprint, i.id, clock_timestamp()
    from unnest(p_merchant, p_key, p_operation, p_fingerprint, p_id, p_simulate)
      with ordinality as i (m, key, operation, fingerprint, id, simulate, n)
    where i.key is not null and not i.simulate
    order by i.m, i.key, i.n
    on conflict (merchant, key) do nothing
    returning resource_id
  )
  select coalesce(array_agg(m.resource_id), '{}') into claimed from made m;
  return claimed;
exception when lock_not_available then
  perform set_config('lock_timeout', '1ms', true);
  for item in
    select distinct on (i.m, i.key) i.m, i.key, i.operation, i.fingerprint, i.id
    from unnest(p_merchant, p_key, p_operation, p_fingerprint, p_id, p_simulate)
      with ordinality as i (m, key, operation, fingerprint, id, simulate, n)
    where i.key is not null and not i.simulate
    order by i.m, i.key, i.n
  loop
    begin
      insert into idempotency (merchant, key, operation, fingerprint, resource_id, created_at)
      values (item.m, item.key, item.operation, item.fingerprint, item.id, clock_timestamp())
      on conflict (merchant, key) do nothing;
      if found then
        claimed := claimed || item.id;
      end if;
    exception when lock_not_available then null; -- the key has no visible row: the caller answers busy
    end;
  end loop;
  perform set_config('lock_timeout', p_patience || 'ms', true);
  return claimed;
end $$;
