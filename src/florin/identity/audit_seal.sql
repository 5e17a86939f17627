-- A field with its length before it: no two records have the same text.
create function audit_field(p_text text) returns text
language sql immutable set search_path from current as $$
  select coalesce(octet_length(p_text)::text || ':' || p_text, '-')
$$;

-- The hash of a record: of its fields in this order, each with its length before it.
create function audit_content(p_record audit) returns bytea
language sql stable set search_path from current as $$
  select sha256(convert_to(
    audit_field(p_record.merchant::text) || audit_field(p_record.id::text)
      || audit_field(p_record.actor) || audit_field(p_record.action) || audit_field(p_record.subject)
      || audit_field(p_record.before::text) || audit_field(p_record.after::text)
      || audit_field(p_record.request_id)
      || audit_field((extract(epoch from p_record.created_at) * 1000000)::bigint::text), 'UTF8'))
$$;

-- Seal audit records: append up to p_most records that are not sealed to the chains of their
-- merchants, and a checkpoint over the new seals. Records are written in the transactions of their
-- changes, without a lock in common; here they get their order, one call at a time. Of what was
-- committed, a later call misses nothing: it looks back a day, and everywhere after a call that
-- left something. Returns the number of new seals, and the last checkpoint.
create function seal_audit(
  p_most integer, out sealed integer, out checkpoint bigint, out seals bigint, out hash bytea
)
language plpgsql volatile security definer set search_path from current as $$
declare
  last audit_checkpoint; one record; chain uuid; n bigint; h bytea; fresh bytea := ''; since timestamptz;
begin
  perform pg_advisory_xact_lock(hashtext('florin.seal_audit'));
  select c.* into last from audit_checkpoint c order by c.number desc limit 1;
  since := case when last.complete then last.at - interval '1 day' else '-infinity' end;
  sealed := 0;
  for one in
    select x.* from (
      select a.merchant, a.id, audit_content(a) content from audit a
      where a.created_at >= since and not exists (
        select from audit_seal s where s.merchant = a.merchant and s.record = a.id)
      order by a.created_at, a.merchant, a.id limit p_most
    ) x order by x.merchant, x.id
  loop
    if chain is distinct from one.merchant then
      chain := one.merchant;
      select s.number, s.hash into n, h from audit_seal s
      where s.merchant = chain order by s.number desc limit 1;
      if not found then
        n := 0;
        h := sha256(uuid_send(chain));
      end if;
    end if;
    n := n + 1;
    h := sha256(h || one.content);
    insert into audit_seal (merchant, number, record, content, hash, checkpoint)
    values (chain, n, one.id, one.content, h, coalesce(last.number, 0) + 1);
    fresh := fresh || h;
    sealed := sealed + 1;
  end loop;
  if sealed > 0 then
    insert into audit_checkpoint as c (number, seals, complete, hash)
    values (
      coalesce(last.number, 0) + 1, coalesce(last.seals, 0) + sealed, sealed < p_most,
      sha256(coalesce(last.hash, '') || int8send(coalesce(last.number, 0) + 1)
        || int8send(coalesce(last.seals, 0) + sealed) || fresh))
    returning c.* into last;
  end if;
  checkpoint := coalesce(last.number, 0);
  seals := coalesce(last.seals, 0);
  hash := last.hash;
end $$;
