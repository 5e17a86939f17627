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
