-- Expire: expire the due cards of a merchant, oldest first, and move their balances to breakage. All
-- cards of a call are processed by the same few statements. Cards that are locked by another transaction
-- are left for the next call. Cards with holds are not expired here but returned in with_holds, because
-- `post` decides which of their holds have expired. p_ids: new ids, one for each card that may expire.
create function expire_due(p_merchant uuid, p_ids uuid[], p_actor text,
  out expired integer, out amount bigint, out with_holds uuid[])
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  c_id uuid[]; c_balance bigint[]; c_held bigint[]; c_currency text[]; c_sequence bigint[];
  c_revision bigint[]; c_expires timestamptz[]; at timestamptz := clock(p_merchant);
begin
  perform begin_money();
  select array_agg(l.id) filter (where l.held = 0), array_agg(l.balance) filter (where l.held = 0),
    array_agg(l.currency) filter (where l.held = 0),
    array_agg(l.sequence) filter (where l.held = 0),
    array_agg(l.revision) filter (where l.held = 0),
    array_agg(l.expires_at) filter (where l.held = 0),
    coalesce(array_agg(l.id) filter (where l.held > 0), '{}')
  into c_id, c_balance, c_currency, c_sequence, c_revision, c_expires, with_holds
  from (
    select a.* from account a
    where a.merchant = p_merchant and a.state in ('active', 'blocked')
      and a.expires_at <= at
    order by a.expires_at limit cardinality(p_ids) for no key update of a skip locked
  ) l;
  at := clock(p_merchant); -- after the locks, so that the dates of a card's entries are in their order
  expired := coalesce(cardinality(c_id), 0);
  select coalesce(sum(b), 0) into amount from unnest(c_balance) b;
  if expired = 0 then
    return;
  end if;
  update account a
  set state = 'expired', balance = 0, revision = w.revision + 1,
    sequence = case when w.balance > 0 then w.sequence + 1 else w.sequence end
  from unnest(c_id, c_balance, c_sequence, c_revision) w (id, balance, sequence, revision)
  where a.merchant = p_merchant and a.id = w.id;
  insert into transfer (merchant, id, kind, currency, amount, debit, credit, debit_card,
    debit_sequence, debit_balance, actor, created_at)
  select p_merchant, w.row, 'expire', w.currency, w.balance, 'card', 'breakage', w.id,
    w.sequence + 1, 0, p_actor, at
  from unnest(c_id, c_balance, c_currency, c_sequence, p_ids) w (id, balance, currency, sequence, row)
  where w.balance > 0;
  with made as (
    insert into event (merchant, id, type, card, resource_id, sequence, data, actor, created_at)
    select p_merchant, w.row, 'card.expired', w.id, w.row, w.revision + 1,
      jsonb_build_object('state', 'expired', 'balance', 0, 'held', 0, 'expires_at', w.expires),
      p_actor, at
    from unnest(c_id, c_revision, c_expires, p_ids) w (id, revision, expires, row)
    where w.id is not null
    returning id, type
  )
  insert into outbox (topic, merchant, resource_id)
  select e.type, p_merchant, e.id from made e
  where exists (select from merchant m where m.id = p_merchant and m.followed);
end $$;

-- Merchants with active cards or open holds past their expiry.
create function merchants_due(p_after uuid, p_most integer) returns setof uuid
language sql volatile set search_path from current set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off as $$
  select m.id from florin.merchant m
  where m.id > p_after and (exists (
    select from florin.account a where a.merchant = m.id and a.state in ('active', 'blocked')
      and a.expires_at <= statement_timestamp() + m.clock_offset
  ) or exists (
    select from florin.hold h where h.merchant = m.id and h.state = 'open'
      and h.expires_at <= statement_timestamp() + m.clock_offset
  ))
  order by m.id limit p_most
$$;

-- Cards of a merchant with open holds past their expiry, oldest first.
create function cards_with_holds_due(p_merchant uuid, p_most integer)
returns setof uuid
language sql volatile set search_path from current set enable_seqscan = off
set enable_bitmapscan = off as $$
  select distinct due.card from (
    select h.card from florin.hold h where h.merchant = p_merchant and h.state = 'open'
      and h.expires_at <= statement_timestamp()
        + (select m.clock_offset from florin.merchant m where m.id = p_merchant)
    order by h.expires_at limit p_most
  ) due
$$;

-- Erase the sealed copies of codes past their retention. Returns their number.
create function erase_codes(p_most integer) returns integer
language sql volatile security definer set search_path from current
set enable_seqscan = off set enable_hashjoin = off as $$
  with due as (
    select c.merchant, c.id from florin.card c
    where c.sealed_code is not null and c.sealed_until <= statement_timestamp()
    order by c.sealed_until limit p_most for update skip locked
  ), erased as (
    update florin.card c set sealed_code = null, sealed_until = null
    from due d where c.merchant = d.merchant and c.id = d.id returning 1
  )
  select count(*)::integer from erased
$$;

-- Delete the idempotency keys in a range of pages that are older than p_days, which is at least 30.
-- A scan by pages needs no index, which every payment would have to maintain. Returns the number of
-- deleted keys, and null when the table ends before p_from.
create function forget_keys(p_from bigint, p_pages integer, p_days integer)
returns integer
language plpgsql volatile security definer set search_path from current as $$
declare
  n integer;
begin
  if p_days < 30 then
    raise exception 'p_days must be at least 30: idempotency keys are kept for 30 days' using errcode = 'check_violation';
  end if;
  if p_from * current_setting('block_size')::bigint
      >= pg_relation_size('florin.idempotency') then
    return null;
  end if;
  delete from idempotency q
  where q.ctid >= format('(%s,0)', p_from)::tid and q.ctid < format('(%s,0)', p_from + p_pages)::tid
    and q.created_at < clock_timestamp() - make_interval(days => p_days);
  get diagnostics n = row_count;
  return n;
end $$;
