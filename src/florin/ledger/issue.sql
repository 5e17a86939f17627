-- Issue: create cards with their accounts, and record the first entry of those that are active.
-- Any number of cards in one call and one transaction; each is issued or refused on its own.
-- outcome: ok | replayed | busy (its key is held elsewhere, or occurs twice in this call) | a refusal.
-- p_sealed_for: how long the sealed copies are kept. p_code: the code's hash (32 bytes), then the hash of
-- a PIN (32 bytes) for a card whose program has PINs, then one byte if the card has a PIN even though its
-- program has none. p_actor: the actor, followed by a unit separator (U+001F) and the location if the
-- actor is bound to one.
-- p_job: the job of these cards; an amount that was accepted with the job is not refused because the
-- program's limits changed since. p_expires: where a card has another expiry date than by its program.
-- p_payment: of the cards of an order, its payment. A gateway collected their money, and their amounts
-- were accepted with the order, as was their VAT, which the item says that claims the card (order_card).
create function issue(
  p_merchant uuid[], p_id uuid[], p_transfer uuid[], p_event uuid[], p_key text[],
  p_fingerprint bytea[], p_program uuid[], p_amount bigint[], p_activate boolean[], p_code bytea[],
  p_last4 text[], p_recipient_name text[], p_recipient_email text[], p_metadata text[],
  p_sealed bytea[], p_sealed_for interval, p_actor text[], p_patience integer default 50,
  p_job uuid default null, p_expires timestamptz[] default null, p_payment uuid[] default null
) returns table (outcome text, id uuid, answer jsonb)
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  n constant integer := cardinality(p_merchant);
  claimed uuid[];
  q_merchant uuid[]; q_left bigint[]; -- the number of cards that each merchant may still request today
  accepted florin.job%rowtype;
begin
  perform begin_money();
  if p_key[1] is not null then -- a request; cards of a job have no key and were counted with the job
    perform nextval('posting_counter');
    select array_agg(z.m), array_agg(cards_left(z.m)) into q_merchant, q_left
    from (select distinct u.m from unnest(p_merchant) u (m)) z;
  end if;
  if p_job is not null then
    select j.* into accepted from job j where j.merchant = p_merchant[1] and j.id = p_job
      and j.amounts_accepted and j.state <> 'finished';
  end if;
  perform set_config('lock_timeout', p_patience || 'ms', true);
  claimed := claim_keys(p_merchant, p_key, array_fill('issue'::text, array[n]), p_fingerprint,
    p_id, array_fill(false, array[n]), p_patience);
  perform set_config('lock_timeout', '0', true); -- extending a file may take longer

  return query
  with item as materialized (
    select i.*,
      case
        when i.key is not null and q.resource_id is null then 'busy'
        when q.resource_id <> i.id and q.resource_id = any (claimed) then 'busy'
        when i.key is not null and not q.resource_id = any (claimed) then
          case when q.operation = 'issue' and q.fingerprint = i.fingerprint then 'replayed'
            else 'idempotency_key_reused' end
        when p.id is null then 'program_not_found'
        when i.expires <= m.at or i.expires > m.at + interval '100 years' then 'expiry_not_allowed'
        when i.m = accepted.merchant and (accepted.kind = 'import'
          or (i.program = accepted.program and i.amount = accepted.amount)) then 'ok'
        when i.payment is not null then 'ok'
        when i.amount not between p.min_amount and p.max_amount
          or not i.amount = any (coalesce(p.denominations, array[i.amount]))
          then 'amount_not_allowed'
        when row_number() over (partition by i.m order by i.n)
          > q_left[array_position(q_merchant, i.m)] then 'quota_exceeded'
        else 'ok'
      end as outcome,
      q.resource_id, q.answer, p.currency, p.partial_redemption, p.expires_after_months, m.at,
      case when octet_length(i.code) > case when p.pin then 32 else 64 end
        then substr(i.code, 33, 32) end as pin_hash,
      coalesce(i.expires, case when i.activate then
        expiry(m.at, p.expires_after_months, m.timezone) end) as expires_at,
      p.max_balance, p.max_per_payment,
      case when i.payment is null then p.vat_country else s.vat_country end as vat_country,
      case when i.payment is null then p.vat_rate else s.vat_rate end as vat_rate
    from unnest(p_merchant, p_id, p_transfer, p_event, p_key, p_fingerprint, p_program, p_amount,
        p_activate, p_code, p_last4, p_recipient_name, p_recipient_email, p_metadata, p_sealed,
        p_actor, p_expires, p_payment) with ordinality
      as i (m, id, transfer, event, key, fingerprint, program, amount, activate, code, last4,
        recipient_name, recipient_email, metadata, sealed, actor, expires, payment, n)
    left join lateral (select z.timezone, clock_timestamp() + z.clock_offset as at from merchant z
      where z.id = i.m limit 1) m on true
    left join lateral (select z.* from program z
      where z.merchant = i.m and z.id = i.program limit 1) p on true
    left join lateral (select z.resource_id, z.operation, z.fingerprint, z.answer from idempotency z
      where i.key is not null and z.merchant = i.m and z.key = i.key limit 1) q on true
    left join lateral (select z.vat_country, z.vat_rate from order_card k
      join order_item z on z.merchant = k.merchant and z.id = k.item
      where i.payment is not null and k.merchant = i.m and k.card = i.id limit 1) s on true
  ), decided as materialized (
    select i.*, case i.outcome when 'ok' then jsonb_build_object(
        'program', i.program, 'currency', i.currency,
        'state', case when i.activate then 'active' else 'pending' end,
        'balance', case when i.activate then i.amount else 0 end,
        'issued_at', i.at, 'expires_at', i.expires_at, 'last4', i.last4)
        || case when i.pin_hash is null then '{}' else '{"pin": true}'::jsonb end
      when 'replayed' then i.answer
      when 'quota_exceeded' then
        jsonb_build_object('limit', quota_limit(i.m, 'cards_per_day')) end as first_answer
    from item i
  ), made as materialized (
    select d.* from decided d where d.outcome = 'ok'
  ), accounts as (
    insert into account (merchant, id, program, currency, state, partial, code_hash, face, balance,
      sequence, revision, expires_at, issued_at, pin_hash, expires_after_months, max_balance,
      max_per_payment)
    select i.m, i.id, i.program, i.currency,
      case when i.activate then 'active'::card_state else 'pending' end, i.partial_redemption,
      substr(i.code, 1, 32), greatest(i.amount, 1), case when i.activate then i.amount else 0 end,
      case when i.activate and i.amount > 0 then 1 else 0 end, 1, i.expires_at, i.at, i.pin_hash,
      i.expires_after_months, i.max_balance, i.max_per_payment
    from made i
  ), cards as (
    insert into card (merchant, id, last4, recipient_name, recipient_email, metadata, sealed_code,
      sealed_until, issued_at, job, vat_country, vat_rate)
    select i.m, i.id, i.last4, i.recipient_name, i.recipient_email,
      coalesce(i.metadata::jsonb, '{}'), i.sealed, clock_timestamp() + p_sealed_for, i.at, p_job,
      i.vat_country, i.vat_rate
    from made i
  ), transfers as (
    insert into transfer (merchant, id, kind, currency, amount, debit, credit, credit_card,
      credit_sequence, credit_balance, reference, actor, location, created_at)
    select i.m, i.transfer, 'issue', i.currency, i.amount,
      case when i.payment is null then 'merchant_clearing'::account_kind
        else 'gateway_clearing' end, 'card', i.id, 1, i.amount,
      'pay_' || replace(i.payment::text, '-', ''), split_part(i.actor, E'\x1f', 1),
      nullif(substr(i.actor, length(split_part(i.actor, E'\x1f', 1)) + 2), ''), i.at
    from made i where i.activate and i.amount > 0
  ), collected as (
    insert into gateway_posting (merchant, transfer, payment, kind, currency, amount, created_at)
    select i.m, i.transfer, i.payment, 'sale', i.currency, i.amount, i.at
    from made i where i.activate and i.payment is not null
  ), events as (
    insert into event (merchant, id, type, card, resource_id, sequence, data, actor, created_at)
    select i.m, i.event, 'card.issued', i.id, i.id, 1,
      (i.first_answer - 'last4') || '{"held": 0}', i.actor, i.at
    from made i
    returning merchant, id, type
  ), published as (
    insert into outbox (topic, merchant, resource_id)
    select e.type, e.merchant, e.id from events e
    where exists (select from merchant z where z.id = e.merchant and z.followed)
  ), used as (
    insert into quota_use as u (merchant, day, shard, cards)
    select i.m, (clock_timestamp() at time zone 'UTC')::date, pg_backend_pid() % 8, count(*)
    from made i where i.key is not null group by i.m order by i.m
    on conflict (merchant, day, shard) do update set cards = u.cards + excluded.cards
  ), answers as (
    update idempotency q set answer = i.first_answer
    from made i where i.key is not null and q.merchant = i.m and q.key = i.key
  ), unclaimed as (
    delete from idempotency q using item i
    where i.outcome not in ('ok', 'replayed', 'idempotency_key_reused') and i.key is not null
      and q.merchant = i.m and q.key = i.key and q.resource_id = i.id
  )
  select i.outcome, case when i.outcome = 'replayed' then i.resource_id else i.id end,
    i.first_answer
  from decided i
  order by i.n;
end $$;

-- To replace a secret of a card: `begin_secret` claims the key and locks the card, the caller writes the
-- secret and the next revision, `end_secret` records the event and its actor, and `keep_secret_answer`
-- stores the answer for repetitions. `begin_secret` returns ok, or the reason why nothing may be written:
-- replayed, busy, or the code of a refusal.
create function begin_secret(
  p_merchant uuid, p_card uuid, p_event uuid, p_operation text, p_key text, p_fingerprint bytea,
  p_patience integer
) returns text
language plpgsql volatile set search_path from current as $$
declare
  found_state card_state;
  before record;
begin
  perform set_config('lock_timeout', p_patience || 'ms', true);
  if p_key is not null then
    perform claim_keys(array[p_merchant], array[p_key], array[p_operation],
      array[p_fingerprint], array[p_event], array[false], p_patience);
    select q.resource_id, q.operation, q.fingerprint into before from idempotency q
    where q.merchant = p_merchant and q.key = p_key;
    if before.resource_id is null then
      return 'busy';
    elsif before.resource_id <> p_event then
      return case when before.operation = p_operation
        and before.fingerprint = p_fingerprint then 'replayed' else 'idempotency_key_reused' end;
    end if;
  end if;
  select a.state into found_state from account a
  where a.merchant = p_merchant and a.id = p_card for no key update;
  if found_state is null or found_state = 'closed' then
    delete from idempotency q where q.merchant = p_merchant and q.key = p_key
      and q.resource_id = p_event;
    return case when found_state is null then 'card_not_found' else 'card_closed' end;
  end if;
  return 'ok';
end $$;

create function end_secret(
  p_merchant uuid, p_card uuid, p_event uuid, p_type text, p_data jsonb, p_actor text
) returns void
language plpgsql volatile set search_path from current as $$
begin
  perform begin_money();
  insert into event (merchant, id, type, card, resource_id, sequence, data, actor, created_at)
  select p_merchant, p_event, p_type, p_card, p_card, a.revision,
    jsonb_build_object('state', a.state, 'balance', a.balance, 'held', a.held) || p_data, p_actor,
    clock(p_merchant)
  from account a where a.merchant = p_merchant and a.id = p_card;
  insert into audit (merchant, id, actor, action, subject, after)
  values (p_merchant, p_event, coalesce(p_actor, 'unknown'), p_type,
    'crd_' || replace(p_card::text, '-', ''), p_data);
  insert into outbox (topic, merchant, resource_id)
  select p_type, p_merchant, p_event from merchant z
  where z.id = p_merchant and z.followed;
end $$;

-- Store the card as it is now, and the hash of this request's sealed copy: a later request replaces the
-- copy, and only that request may show what it then holds.
create function keep_secret_answer(p_merchant uuid, p_card uuid, p_key text)
returns void
language plpgsql volatile set search_path from current as $$
declare
  now_here constant timestamptz := clock(p_merchant);
begin
  update idempotency q set answer = jsonb_build_object(
    'state', case when a.state in ('active', 'blocked') and a.expires_at <= now_here
      then 'expired' else a.state::text end,
    'blocked', a.blocked,
    'balance', a.balance,
    'held', a.held - coalesce((select sum(h.amount) from hold h where h.merchant = a.merchant
      and h.card = a.id and h.state = 'open' and h.expires_at <= now_here), 0),
    'expires_at', a.expires_at, 'last4', z.last4,
    'sealed', encode(sha256(z.sealed_code), 'hex'))
  from account a join card z on z.merchant = a.merchant and z.id = a.id
  where p_key is not null and q.merchant = p_merchant and q.key = p_key
    and a.merchant = p_merchant and a.id = p_card;
end $$;

-- Rotate: replace the code of a card; the old code no longer works.
-- Instances of the release before name no actor.
create function rotate_code(
  p_merchant uuid, p_card uuid, p_event uuid, p_code bytea, p_last4 text, p_sealed bytea,
  p_sealed_for interval, p_key text, p_fingerprint bytea, p_actor text default null,
  p_patience integer default 10000
) returns table (outcome text)
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
  may text := begin_secret(p_merchant, p_card, p_event, 'rotate-code', p_key, p_fingerprint,
    p_patience);
begin
  if may = 'ok' then
    update account a set code_hash = p_code, revision = a.revision + 1
    where a.merchant = p_merchant and a.id = p_card;
    update card z set last4 = p_last4, sealed_code = p_sealed,
      sealed_until = clock_timestamp() + p_sealed_for
    where z.merchant = p_merchant and z.id = p_card;
    perform end_secret(p_merchant, p_card, p_event, 'card.code_rotated',
      jsonb_build_object('last4', p_last4), p_actor);
    perform keep_secret_answer(p_merchant, p_card, p_key);
  end if;
  return query select may;
end $$;
