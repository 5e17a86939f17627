-- Once: claim a key in the caller's own transaction, together with what it makes. A duplicate that
-- runs elsewhere is waited for. Returns what the key made first, or null when it was used for
-- something else.
create function once(
  p_merchant uuid, p_key text, p_operation text, p_fingerprint bytea, p_noun uuid
) returns uuid
language plpgsql volatile security definer set search_path from current as $$
declare
  found_noun uuid;
begin
  insert into idempotency (merchant, key, operation, fingerprint, resource_id, created_at)
  values (p_merchant, p_key, p_operation, p_fingerprint, p_noun, clock_timestamp())
  on conflict (merchant, key) do nothing;
  select q.resource_id into found_noun from idempotency q
  where q.merchant = p_merchant and q.key = p_key and q.operation = p_operation
    and q.fingerprint = p_fingerprint;
  return found_noun;
end $$;

-- Once for each of several requests, in one transaction. Returns for each key what it made first; null
-- when it was used for something else, or when another transaction held it for longer than 50 ms.
-- Without a key, null.
create function once_each(
  p_merchant uuid[], p_key text[], p_operation text, p_fingerprint bytea[], p_noun uuid[]
) returns uuid[]
language plpgsql volatile security definer set search_path from current as $$
declare
  n constant integer := cardinality(p_merchant);
begin
  perform set_config('lock_timeout', '50ms', true);
  perform claim_keys(p_merchant, p_key, array_fill(p_operation, array[n]), p_fingerprint, p_noun,
    array_fill(false, array[n]), 50);
  perform set_config('lock_timeout', '0', true);
  return array(
    select q.resource_id
    from unnest(p_merchant, p_key, p_fingerprint) with ordinality as u (merchant, key, fingerprint, n)
    left join idempotency q on q.merchant = u.merchant and q.key = u.key
      and q.operation = p_operation and q.fingerprint = u.fingerprint
    order by u.n
  );
end $$;
