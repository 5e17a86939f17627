-- Check the quota of API keys that are not revoked, of members, of webhook endpoints that are not
-- deleted, or of gateways, also those that are off; a removed member has no row.
-- Returns null, or the limit that one more would exceed. The merchant's row is locked until the end of
-- the transaction, so that the second of two concurrent requests sees what the first created.
create function exceeded_quota(p_merchant uuid, p_name text) returns bigint
language plpgsql volatile set search_path from current
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  most bigint := quota_limit(p_merchant, p_name);
  used bigint;
begin
  perform from merchant m where m.id = p_merchant for no key update;
  case p_name
    when 'api_keys' then
      select count(*) into used from api_key k
      where k.merchant = p_merchant and k.revoked_at is null;
    when 'webhook_endpoints' then
      select count(*) into used from webhook_endpoint e
      where e.merchant = p_merchant and e.state <> 'deleted';
    when 'gateways' then
      select count(*) into used from gateway g where g.merchant = p_merchant;
    when 'members' then
      select count(*) into used from member m where m.merchant = p_merchant;
  end case;
  return case when used >= most then most end;
end $$;
