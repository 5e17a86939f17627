-- Post: move the money of existing cards; nothing else changes their balances, except `expire_due`.
--
-- Takes any number of items (parallel arrays, one element for each item) in one call and one
-- transaction; each item succeeds or is refused on its own, as if they were posted one after another.
--   1. resolve the cards                3. lock the cards, sorted
--   2. claim the keys, sorted           4. decide item by item   5. record everything at once
-- Keys before cards, and both in one order, so that two calls can never deadlock.
--
-- outcome: ok | replayed (the first answer of the key: `id` is its resource) | busy (a key or card is
-- locked elsewhere for longer than p_patience ms; nothing happened) | the code of a refusal.
-- p_code: the keyed hash of the code (32 bytes) and, where a PIN was given, that of the PIN under each
-- secret that may have keyed it (32 bytes each). A wrong PIN is counted although its item is refused.
-- Amounts are in minor units. p_amount null means all: the rest of a redemption, a whole hold. p_until:
-- of an extension the new expiry date. p_background: no client waits.
-- p_from_blocked: an owner takes money from a blocked card, by a transfer or an adjustment; it stays blocked.
-- p_most: of a cash-out, the highest balance with which a card is paid out. A cash-out may name the card and
-- its code: then both must be of one card.
create function post(
  p_merchant uuid[], p_op text[], p_id uuid[], p_event uuid[], p_key text[], p_fingerprint bytea[],
  p_card uuid[], p_code bytea[], p_other uuid[], p_amount bigint[], p_currency text[],
  p_remainder boolean[], p_simulate boolean[], p_expires_in integer[],
  p_actor text[], p_reference text[], p_location text[], p_reason text[], p_metadata text[],
  p_patience integer default 50, p_until timestamptz[] default null,
  p_background boolean default false, p_from_blocked boolean[] default null,
  p_most bigint[] default null
) returns table (
  outcome text, id uuid, card uuid, currency text, amount bigint, part bigint, balance bigint,
  held bigint, state text, expires_at timestamptz, noun uuid, sequence bigint, at timestamptz
)
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
  real_now timestamptz;
  -- the cards of this call, in the order in which they are locked
  c_merchant uuid[]; c_id uuid[]; c_code bytea[]; c_currency text[]; c_state card_state[];
  c_partial boolean[]; c_face bigint[]; c_balance bigint[]; c_held bigint[]; c_sequence bigint[];
  c_before bigint[]; c_revision bigint[]; c_expires timestamptz[]; c_changed boolean[];
  c_pin bytea[]; c_failed bytea[]; c_most bigint[]; c_payment bigint[];
  -- the items: the card, the second card, and the result
  x integer[]; y integer[]; y_item integer[]; y_rank integer[];
  o_outcome text[]; o_kind transfer_kind[]; o_amount bigint[]; o_part bigint[];
  o_out boolean[]; o_sequence bigint[]; o_balance bigint[]; o_held bigint[];
  o_sequence2 bigint[]; o_balance2 bigint[]; o_state card_state[]; o_expires timestamptz[];
  o_noun uuid[]; o_origin uuid[]; o_id uuid[]; o_at timestamptz[]; o_thief integer[];
  o_event text[]; o_revision bigint[]; o_data jsonb[]; o_location text[];
  -- events in addition to the item's own one; refunds of this call, by redemption
  e_merchant uuid[]; e_id uuid[]; e_type text[]; e_card uuid[]; e_noun uuid[];
  e_sequence bigint[]; e_data jsonb[]; e_actor text[]; e_at timestamptz[];
  -- The events of a call get increasing dates, so that the order of dates is the order of events.
  ticks integer := 0; microsecond constant interval := '1 microsecond';
  r_id uuid[] := '{}'; r_refunded bigint[] := '{}';
  pin_said text; pin_mark bytea; -- of the item: the result of its PIN, and the mark of this attempt
  c_lost bigint[] := '{}'; -- expired minus reinstated in this call
  item record; due record; h_state hold_state; h_amount bigint; h_expires timestamptz;
  place text; -- the location of the hold or redemption that is captured or refunded
  i integer; j integer; c integer; d integer; k integer; changed integer; written integer;
  now_here timestamptz; st card_state; refusal text; free bigint; take bigint; back bigint;
  whole bigint; claimed uuid[];
  kind transfer_kind; happened text; out_of boolean; held_change bigint; origin_amount bigint[];
  any_refused boolean := false; any_key boolean := false; any_thief boolean := false;
  any_answer boolean := false; any_moved boolean := false; any_event boolean := false;
  any_audit boolean := false;
begin
  perform begin_money();
  if p_op[1] <> 'expire' and not p_background then -- a client waits
    perform nextval('posting_counter');
  end if;
  perform set_config('lock_timeout', p_patience || 'ms', true);

  -- 1. Resolve the cards.
  with wanted as materialized (
    select i.n, i.m,
      case i.op when 'refund' then t.spent when 'capture' then h.card
        when 'void' then h.card else a.id end as first,
      b.id as second
    from unnest(p_merchant, p_op, p_card, p_code, p_other)
      with ordinality as i (m, op, card, code, other, n)
    left join lateral (select z.id from account z where i.card is not null
        and z.merchant = i.m and z.id = i.card
      union all select z.id from account z where i.card is null and i.code is not null
        and z.merchant = i.m and z.code_hash = substr(i.code, 1, 32)
      limit 1) a on true
    left join lateral (select z.id from account z where i.op = 'transfer'
      and z.merchant = i.m and z.id = i.other limit 1) b on true
    left join lateral (select z.debit_card as spent from transfer z where i.op = 'refund'
      and z.merchant = i.m and z.id = i.other and z.kind = 'redeem' limit 1) t on true
    left join lateral (select z.card from hold z where i.op in ('capture', 'void')
      and z.merchant = i.m and z.id = i.other limit 1) h on true
  ), slot as (
    select w.n, false as other, w.m, w.first as c from wanted w
    union all select w.n, true, w.m, w.second from wanted w where w.second is not null
  ), ranked as (
    select s.*, dense_rank() over (order by s.c is null, s.m, s.c) as r,
      row_number() over (partition by s.m, s.c order by s.n) as nth
    from slot s
  )
  select array_agg(case when r.c is not null then r.r end order by r.n) filter (where not r.other),
    array_agg(r.n order by r.n) filter (where r.other),
    array_agg(r.r order by r.n) filter (where r.other),
    array_agg(r.m order by r.r) filter (where r.nth = 1 and r.c is not null),
    array_agg(r.c order by r.r) filter (where r.nth = 1 and r.c is not null)
  into x, y_item, y_rank, c_merchant, c_id
  from ranked r;

  -- 2. Claim the keys. Wait for a duplicate that runs elsewhere.
  any_key := array_remove(p_key, null) <> '{}';
  if any_key then
    claimed := claim_keys(p_merchant, p_key, p_op, p_fingerprint, p_id, p_simulate,
      p_patience);
  end if;

  -- 3. Lock the cards. One that is locked elsewhere for too long is left out.
  begin
    select array_agg(l.code_hash), array_agg(l.currency), array_agg(l.state), array_agg(l.partial),
      array_agg(l.face), array_agg(l.balance), array_agg(l.held), array_agg(l.sequence),
      array_agg(l.revision), array_agg(l.expires_at), array_agg(l.pin_hash),
      array_agg(l.pin_failed), array_agg(l.max_balance), array_agg(l.max_per_payment)
    into c_code, c_currency, c_state, c_partial, c_face, c_balance, c_held, c_sequence,
      c_revision, c_expires, c_pin, c_failed, c_most, c_payment
    from (
      select a.* from unnest(c_merchant, c_id) with ordinality as w (m, c, r)
      join account a on a.merchant = w.m and a.id = w.c
      order by w.r for no key update of a
    ) l;
  exception when lock_not_available then
    select array_agg(l.code_hash order by w.r), array_agg(l.currency order by w.r),
      array_agg(l.state order by w.r), array_agg(l.partial order by w.r),
      array_agg(l.face order by w.r), array_agg(l.balance order by w.r),
      array_agg(l.held order by w.r), array_agg(l.sequence order by w.r),
      array_agg(l.revision order by w.r), array_agg(l.expires_at order by w.r),
      array_agg(l.pin_hash order by w.r), array_agg(l.pin_failed order by w.r),
      array_agg(l.max_balance order by w.r), array_agg(l.max_per_payment order by w.r)
    into c_code, c_currency, c_state, c_partial, c_face, c_balance, c_held, c_sequence,
      c_revision, c_expires, c_pin, c_failed, c_most, c_payment
    from unnest(c_merchant, c_id) with ordinality as w (m, c, r)
    left join (
      select w.r, a.* from unnest(c_merchant, c_id) with ordinality as w (m, c, r)
      join account a on a.merchant = w.m and a.id = w.c
      order by w.r for no key update of a skip locked
    ) l on l.r = w.r;
  end;
  c_before := c_sequence;
  c_changed := array_fill(false, array[coalesce(cardinality(c_id), 0)]);
  -- From here on the only waits are for PostgreSQL's own short locks (extending a file, a page).
  perform set_config('lock_timeout', '0', true);
  real_now := clock_timestamp(); -- after the locks, so that the dates of a card's entries are in their order

  y := array_fill(null::integer, array[n]);
  for k in 1 .. coalesce(cardinality(y_item), 0) loop
    y[y_item[k]] := y_rank[k];
  end loop;
  o_outcome := array_fill(null::text, array[n]);
  o_kind := o_outcome; o_event := o_outcome; o_state := o_outcome; o_data := o_outcome;
  o_amount := array_fill(null::bigint, array[n]);
  o_part := o_amount; o_sequence := o_amount; o_balance := o_amount; o_held := o_amount;
  o_sequence2 := o_amount; o_balance2 := o_amount; o_revision := o_amount;
  origin_amount := o_amount; o_thief := o_amount;
  o_out := array_fill(null::boolean, array[n]);
  o_expires := array_fill(null::timestamptz, array[n]); o_at := o_expires;
  o_noun := array_fill(null::uuid, array[n]); o_origin := o_noun; o_id := p_id;
  o_location := p_location;

  -- Expired holds release their money before anything is decided.
  if exists (select from unnest(c_held) h where h > 0) then
    for due in
      update hold h set state = 'expired',
        resolved_at = real_now + (select z.clock_offset from merchant z where z.id = w.m)
      from unnest(c_merchant, c_id, c_held) with ordinality as w (m, c, held, r)
      where w.held > 0 and h.merchant = w.m and h.card = w.c and h.state = 'open'
        and h.expires_at <= real_now + (select z.clock_offset from merchant z where z.id = w.m)
      returning w.r::integer as r, h.id, h.amount, h.resolved_at
    loop
      c := due.r;
      c_held[c] := c_held[c] - due.amount;
      c_revision[c] := c_revision[c] + 1;
      c_changed[c] := true;
      e_merchant := e_merchant || c_merchant[c]; e_id := e_id || new_id();
      e_type := e_type || 'hold.expired'::text; e_card := e_card || c_id[c];
      e_noun := e_noun || due.id; e_sequence := e_sequence || c_revision[c];
      e_data := e_data || jsonb_build_object('state', 'expired');
      e_actor := e_actor || 'florin'::text;
      ticks := ticks + 1; e_at := e_at || due.resolved_at + ticks * microsecond;
    end loop;
  end if;

  -- 4. Decide, item by item.
  for item in
    select i.n::integer as n, i.op, i.id, i.m, i.card, i.code, i.other, i.amount, i.currency,
      i.remainder, i.simulate, i.expires_in, i.key, i.event, i.until,
      i.from_blocked, i.most,
      real_now + z.clock_offset as at,
      q.resource_id as claimed_by, q.operation = i.op and q.fingerprint = i.fingerprint as same
    from unnest(p_op, p_id, p_merchant, p_card, p_code, p_other, p_amount, p_currency, p_remainder,
        p_simulate, p_expires_in, p_key, p_fingerprint, p_event, p_until,
        p_from_blocked, p_most)
      with ordinality as i (op, id, m, card, code, other, amount, currency, remainder,
        simulate, expires_in, key, fingerprint, event, until, from_blocked, most, n)
    left join lateral (select z.clock_offset from merchant z where z.id = i.m limit 1) z on true
    left join lateral (select q.resource_id, q.operation, q.fingerprint from idempotency q
      where i.key is not null and not i.simulate and q.merchant = i.m and q.key = i.key limit 1) q
      on true
    order by i.n
  loop
    i := item.n;
    c := x[i];
    d := y[i];
    now_here := item.at;

    -- Was the key used before this call, or by an earlier item of this call?
    if item.key is not null and not item.simulate then
      if item.claimed_by is null then
        o_outcome[i] := 'busy';
        continue;
      elsif not item.claimed_by = any (claimed) then
        o_outcome[i] := case when item.same then 'replayed' else 'idempotency_key_reused' end;
        o_id[i] := item.claimed_by;
        continue;
      elsif item.claimed_by <> item.id then
        j := array_position(p_id, item.claimed_by);
        j := coalesce(o_thief[j], j);
        if o_outcome[j] = 'ok' then
          o_outcome[i] := case
            when p_op[j] = item.op and p_fingerprint[j] = p_fingerprint[i] then 'replayed'
            else 'idempotency_key_reused' end;
          o_id[i] := p_id[j];
          continue;
        elsif o_outcome[j] = 'busy' then
          o_outcome[i] := 'busy';
          continue;
        end if; -- a refusal does not use up the key: this item may use it
      end if;
    end if;

    if c is null or item.op = 'transfer' and d is null then
      o_outcome[i] := case item.op when 'refund' then 'redemption_not_found'
        when 'capture' then 'hold_not_found' when 'void' then 'hold_not_found'
        else 'card_not_found' end;
      if c is not null then
        o_noun[i] := item.other; -- of a transfer: the refusal is about the credited card
      end if;
      any_refused := true;
      continue;
    elsif c_balance[c] is null or d is not null and c_balance[d] is null then
      o_outcome[i] := 'busy'; -- locked elsewhere
      any_refused := true;
      continue;
    end if;

    st := c_state[c];
    if st in ('active', 'blocked') and c_expires[c] <= now_here then
      st := 'expired'; -- also before the entry that records it; `blocked` keeps a block
    end if;
    refusal := case when st = 'active' then null when st = 'pending' then 'card_not_active'
      when st = 'blocked' then 'card_blocked' when st = 'expired' then 'card_expired'
      else 'card_closed' end;
    free := c_balance[c] - c_held[c];
    take := item.amount;
    if item.from_blocked and refusal = 'card_blocked' and (item.op = 'transfer' or take < 0) then
      refusal := null;
    end if;
    kind := null; happened := null; held_change := 0; out_of := true;

    pin_said := null;
    if c_pin[c] is not null and (item.card is null and item.op in ('redeem', 'hold')
          or item.op = 'cash-out' and item.code is not null)
        and c_code[c] = substr(item.code, 1, 32) then
      if octet_length(c_failed[c]) >= 5 * 16 then
        pin_said := 'pin_locked';
      elsif octet_length(item.code) < 64 then
        pin_said := 'pin_required';
      elsif exists (select from generate_series(33, octet_length(item.code) - 31, 32) p
          where sha256(uuid_send(c_id[c]) || substr(item.code, p, 32)) = c_pin[c]) then
        c_changed[c] := c_changed[c] or c_failed[c] is not null;
        c_failed[c] := null;
      else
        pin_said := 'pin_incorrect';
        pin_mark := substr(sha256(convert_to(coalesce(item.key, item.id::text), 'UTF8')
          || p_fingerprint[i] || item.code), 1, 16);
        if coalesce(position(pin_mark in c_failed[c]), 0) = 0 then -- not a repetition of an earlier attempt
          c_failed[c] := coalesce(c_failed[c], '') || pin_mark;
          c_changed[c] := true;
        end if;
        o_part[i] := 5 - octet_length(c_failed[c]) / 16; -- attempts left
      end if;
    end if;

    if item.code is not null and (item.card is null or item.op = 'cash-out')
        and c_code[c] <> substr(item.code, 1, 32) then
      refusal := 'card_not_found'; -- its code was replaced during the wait
    elsif pin_said is not null then
      refusal := pin_said;
    elsif take < 1 and item.op <> 'adjust' or take = 0 or c = d then
      refusal := 'invalid_request'; -- the API refuses this earlier, with a better message
    elsif item.currency is not null and item.currency <> c_currency[c] then
      refusal := 'currency_mismatch';
    elsif item.op in ('redeem', 'hold') then
      if refusal is not null then null;
      else
        if item.remainder then
          take := least(take, free, c_payment[c]);
        end if;
        if take > free or take = 0 then
          refusal := 'insufficient_funds';
        elsif take > c_payment[c] then
          refusal := 'payment_limit_exceeded';
        elsif not c_partial[c] and take <> c_balance[c] then
          refusal := 'partial_redemption_not_allowed';
        elsif item.op = 'redeem' then
          kind := 'redeem'; happened := 'card.redeemed';
        else
          happened := 'hold.created'; held_change := take;
          o_expires[i] := now_here + make_interval(secs => item.expires_in);
        end if;
      end if;
    elsif item.op = 'refund' then
      select t.amount, coalesce((select max(f.refunded) from transfer f where f.merchant = item.m
          and f.origin = item.other and f.kind = 'refund'), 0), t.location
      into whole, back, place
      from transfer t where t.merchant = item.m and t.id = item.other;
      o_location[i] := coalesce(o_location[i], place);
      origin_amount[i] := whole;
      k := array_position(r_id, item.other);
      back := coalesce(r_refunded[k], back);
      take := coalesce(take, whole - back);
      if st = 'closed' then
        refusal := 'card_closed';
      elsif take > whole - back or take = 0 then
        refusal := 'refund_exceeds_redemption';
      else -- a blocked or expired card can be refunded, too; it keeps its state
        refusal := null;
        kind := 'refund'; happened := 'card.refunded'; out_of := false;
        o_part[i] := back + take; o_noun[i] := item.other; o_origin[i] := item.other;
        if not item.simulate then
          if k is null then
            r_id := r_id || item.other; r_refunded := r_refunded || o_part[i];
          else
            r_refunded[k] := o_part[i];
          end if;
        end if;
      end if;
    elsif item.op in ('capture', 'void') then
      select h.state, h.amount, h.expires_at, h.location into h_state, h_amount, h_expires, place
      from hold h where h.merchant = item.m and h.id = item.other;
      o_location[i] := coalesce(o_location[i], place);
      o_expires[i] := h_expires;
      take := coalesce(take, h_amount);
      if h_state <> 'open' then
        refusal := 'hold_not_open';
      elsif item.op = 'void' then
        refusal := null; happened := 'hold.voided'; held_change := -h_amount;
        o_part[i] := 0;
      elsif take > h_amount then
        refusal := 'capture_exceeds_hold';
      elsif st = 'blocked' or st = 'expired' and exists (select from account a
          where a.merchant = item.m and a.id = c_id[c] and a.blocked) then
        refusal := 'card_blocked';
      elsif not c_partial[c] and take <> h_amount then
        refusal := 'partial_redemption_not_allowed';
      else -- a hold placed in time can be captured after the card expired
        refusal := null;
        kind := 'redeem'; happened := 'hold.captured'; held_change := -h_amount;
        o_part[i] := take; o_noun[i] := item.id; o_origin[i] := item.other;
      end if;
    elsif item.op = 'load' then
      if refusal is null then
        kind := 'load'; happened := 'card.loaded'; out_of := false;
      end if;
    elsif item.op = 'adjust' then
      if refusal is null then
        kind := 'adjust'; happened := 'card.adjusted'; out_of := take < 0; take := abs(take);
        if out_of and take > free then
          refusal := 'insufficient_funds';
        end if;
      end if;
    elsif item.op = 'transfer' then
      if refusal is null and (c_state[d] <> 'active' or c_expires[d] <= now_here) then
        refusal := case when c_state[d] in ('active', 'blocked')
            and c_expires[d] <= now_here then 'card_expired'
          when c_state[d] = 'pending' then 'card_not_active'
          else 'card_' || c_state[d]::text end;
        o_noun[i] := c_id[d]; -- the refusal is about it, not about the debited card
      end if;
      if refusal is null then
        if c_currency[c] <> c_currency[d] then
          refusal := 'currency_mismatch';
        elsif take > free then
          refusal := 'insufficient_funds';
        elsif not c_partial[c] and take <> c_balance[c] then
          refusal := 'partial_redemption_not_allowed';
        else
          kind := 'transfer'; happened := 'card.transferred';
        end if;
      end if;
    elsif item.op = 'activate' then
      if st = 'active' then
        refusal := null; -- already in this state
      elsif st = 'pending' and c_expires[c] <= now_here then
        refusal := 'card_expired'; -- a date that was given when it was issued
      elsif st = 'pending' then
        refusal := null;
        kind := 'activate'; happened := 'card.activated'; out_of := false; take := c_face[c];
        st := 'active';
        c_expires[c] := coalesce(c_expires[c], expiry_of(item.m, c_id[c], now_here));
      end if;
    elsif item.op = 'extend' then
      if st in ('pending', 'active', 'blocked') then
        refusal := null;
        if item.until <= now_here or item.until < c_expires[c]
            or c_expires[c] is null and st <> 'pending' then
          refusal := 'expiry_not_allowed';
        elsif item.until is distinct from c_expires[c] then
          happened := 'card.extended';
          c_expires[c] := item.until;
        end if;
      end if;
    elsif item.op = 'block' then
      if st in ('active', 'expired') then
        refusal := null; -- a block and the end of a card are independent of each other
        update account a set blocked = true
        where a.merchant = item.m and a.id = c_id[c] and not a.blocked;
        if found then
          happened := 'card.blocked';
          st := case st when 'active' then 'blocked'::card_state else st end;
        end if;
      elsif st = 'blocked' then
        refusal := null;
      end if;
    elsif item.op = 'unblock' then
      if st in ('blocked', 'expired') then
        refusal := null;
        update account a set blocked = false
        where a.merchant = item.m and a.id = c_id[c] and a.blocked;
        if found then
          happened := 'card.unblocked';
          st := case st when 'blocked' then 'active'::card_state else st end;
        end if;
      end if; -- active: already in this state
    elsif item.op = 'close' then
      refusal := null;
      if st <> 'closed' then
        if c_balance[c] <> 0 or c_held[c] <> 0 then
          refusal := 'card_not_empty';
        else
          happened := 'card.closed'; st := 'closed';
        end if;
      end if;
    elsif item.op = 'expire' then
      if c_state[c] in ('active', 'blocked') and c_expires[c] <= now_here then
        refusal := null; happened := 'card.expired'; st := 'expired';
        if free > 0 then
          kind := 'expire'; take := free; -- held money stays reserved for its hold
          c_lost[c] := coalesce(c_lost[c], 0) + take;
        end if;
      elsif c_state[c] = 'expired' then
        refusal := null;
        if free > 0 then -- a hold or a refund returned money to it
          kind := 'expire'; happened := 'card.expired'; take := free;
          c_lost[c] := coalesce(c_lost[c], 0) + take;
        end if;
      elsif refusal is null then
        refusal := 'card_not_due';
      end if;
    elsif item.op = 'reinstate' then
      if st = 'active' then
        refusal := null; -- already in this state
      elsif st = 'expired' then
        refusal := null; happened := 'card.reinstated';
        c_expires[c] := expiry_of(item.m, c_id[c], now_here);
        select case when a.blocked then 'blocked'::card_state else 'active' end into st
        from account a where a.merchant = item.m and a.id = c_id[c];
        select coalesce(sum(t.amount) filter (where t.kind = 'expire'), 0)
          - coalesce((select sum(b.amount) from transfer b where b.merchant = item.m
              and b.credit_card = c_id[c] and b.kind = 'reinstate'), 0)
        into take
        from transfer t where t.merchant = item.m and t.debit_card = c_id[c];
        take := take + coalesce(c_lost[c], 0);
        if take > 0 then
          kind := 'reinstate'; out_of := false;
          c_lost[c] := coalesce(c_lost[c], 0) - take;
        end if;
      end if;
    elsif item.op = 'top-up' then -- other: the payment that paid for it
      if refusal is null then
        kind := 'load'; happened := 'card.loaded'; out_of := false;
      end if;
    elsif item.op in ('clawback', 'seize') then
      -- What is left of an amount goes back to the buyer, or to the gateway after a lost dispute;
      -- a block does not keep it, and money that a hold reserves is not left.
      refusal := null;
      take := least(take, free);
      if st in ('pending', 'closed') or take = 0 then
        take := 0;
      else
        kind := case item.op when 'clawback' then 'clawback'::transfer_kind else 'dispute' end;
        happened := 'card.clawed_back';
      end if;
    elsif item.op = 'giveback' then -- what a refund took before it failed; also to a card closed since
      refusal := null;
      kind := 'giveback'; happened := 'card.given_back'; out_of := false;
      if st = 'closed' then
        st := 'active'; c_state[c] := 'active';
      end if;
    elsif item.op = 'cash-out' then
      if refusal is null then
        take := coalesce(take, free);
        if c_balance[c] > coalesce(item.most, 0) then -- what a hold reserves counts, too: it may be released
          refusal := 'cash_out_not_allowed';
        elsif take > free or take = 0 then
          refusal := 'insufficient_funds';
        elsif not c_partial[c] and take <> c_balance[c] then
          refusal := 'partial_redemption_not_allowed';
        else
          kind := 'cash_out'; happened := 'card.cashed_out';
        end if;
      end if;
    else
      raise exception 'unknown operation %', item.op using errcode = 'invalid_parameter_value';
    end if;

    if refusal is null and kind is not null and (not out_of
        and c_balance[c] + take > least(9000000000000000,
          case when kind in ('load', 'adjust') then c_most[c] end) -- what was spent always returns
        or kind = 'transfer' and c_balance[d] + take > least(9000000000000000, c_most[d])) then
      refusal := 'balance_limit_exceeded';
    end if;

    o_at[i] := now_here;
    if refusal is not null then
      o_outcome[i] := refusal;
      o_balance[i] := c_balance[c]; o_held[i] := c_held[c]; o_state[i] := st;
      any_refused := true;
      continue;
    end if;

    o_outcome[i] := 'ok';
    o_amount[i] := case when item.op in ('capture', 'void') then h_amount
      when item.op = 'adjust' and out_of then -take else take end;
    back := case when kind is null then 0 when out_of then -take else take end;
    if item.simulate then
      o_balance[i] := c_balance[c] + back; o_held[i] := c_held[c] + held_change;
      o_state[i] := st;
      continue;
    end if;

    if item.claimed_by <> item.id then
      o_thief[j] := i; any_thief := true;
    end if;
    if kind is not null then
      any_moved := true;
      o_kind[i] := kind; o_out[i] := out_of;
      c_balance[c] := c_balance[c] + back;
      c_sequence[c] := c_sequence[c] + 1;
      o_sequence[i] := c_sequence[c];
      if kind = 'transfer' then
        c_balance[d] := c_balance[d] + take;
        c_sequence[d] := c_sequence[d] + 1;
        c_changed[d] := true;
        o_sequence2[i] := c_sequence[d]; o_balance2[i] := c_balance[d];
        c_revision[d] := c_revision[d] + 1;
        e_merchant := e_merchant || item.m; e_id := e_id || item.id;
        e_type := e_type || 'card.transferred'::text; e_card := e_card || c_id[d];
        e_noun := e_noun || item.id; e_sequence := e_sequence || c_revision[d];
        e_data := e_data || null::jsonb; e_actor := e_actor || p_actor[i];
        e_at := e_at || now_here + (ticks + 2 * i - 1) * microsecond;
      end if;
    end if;
    c_held[c] := c_held[c] + held_change;
    o_balance[i] := c_balance[c]; o_held[i] := c_held[c];
    if item.op in ('clawback', 'seize', 'giveback', 'cash-out') and happened is not null then
      o_data[i] := jsonb_build_object('state', st, 'balance', c_balance[c], 'held', c_held[c]);
      any_audit := any_audit or item.op = 'cash-out';
    end if;
    if item.op in ('activate', 'block', 'unblock', 'close', 'expire', 'reinstate', 'extend') then
      if st <> 'expired' or item.op not in ('block', 'unblock') then
        c_state[c] := st; -- otherwise the entry that expires it still has to move its money
      end if;
      o_expires[i] := c_expires[c];
      o_data[i] := jsonb_build_object('state', st, 'balance', c_balance[c], 'held', c_held[c],
        'expires_at', c_expires[c], 'blocked', (select a.blocked from account a
          where a.merchant = item.m and a.id = c_id[c]));
      any_answer := any_answer or item.key is not null;
      any_audit := any_audit or happened is not null;
    elsif item.from_blocked then
      any_audit := true;
    elsif item.op = 'hold' then
      o_data[i] := jsonb_build_object('state', 'open', 'captured', 0);
      insert into hold (merchant, id, card, currency, amount, actor, reference, location, metadata,
        created_at, expires_at)
      values (item.m, item.id, c_id[c], c_currency[c], take, p_actor[i], p_reference[i],
        p_location[i], p_metadata[i]::jsonb, now_here, o_expires[i]);
      o_part[i] := 0;
    elsif item.op in ('capture', 'void') then
      o_data[i] := jsonb_build_object(
        'state', case item.op when 'capture' then 'captured' else 'voided' end,
        'captured', o_part[i]);
      update hold h set state = case item.op when 'capture' then 'captured'::hold_state
          else 'voided' end, captured = o_part[i], redemption = o_noun[i], resolved_at = now_here
      where h.merchant = item.m and h.id = item.other and h.state = 'open';
      o_id[i] := item.other;
      if item.op = 'capture' then
        c_revision[c] := c_revision[c] + 1;
        e_merchant := e_merchant || item.m; e_id := e_id || item.id;
        e_type := e_type || 'card.redeemed'::text; e_card := e_card || c_id[c];
        e_noun := e_noun || item.id; e_sequence := e_sequence || c_revision[c];
        e_data := e_data || null::jsonb; e_actor := e_actor || p_actor[i];
        e_at := e_at || now_here + (ticks + 2 * i - 1) * microsecond;
      end if;
    end if;
    o_state[i] := st;
    if happened is not null then
      c_changed[c] := true;
      any_event := true;
      c_revision[c] := c_revision[c] + 1;
      o_event[i] := happened;
      o_revision[i] := c_revision[c];
    end if;
  end loop;

  -- 5. Record.
  update account a
  set balance = w.balance, held = w.held, sequence = w.sequence, revision = w.revision,
    state = w.state, expires_at = w.expires, pin_failed = w.failed
  from unnest(c_merchant, c_id, c_before, c_balance, c_held, c_sequence, c_revision, c_state,
    c_expires, c_failed, c_changed) as w (m, c, before, balance, held, sequence, revision, state,
    expires, failed, changed)
  where w.changed and a.merchant = w.m and a.id = w.c and a.sequence = w.before;
  get diagnostics written = row_count;
  changed := coalesce(cardinality(array_positions(c_changed, true)), 0);
  if written <> changed then
    raise exception 'a card changed under its lock' using errcode = 'serialization_failure';
  end if;
  if 'expired' = any (c_state) then -- money that returned to an expired card is breakage, too
    insert into outbox (queue, kind, version, payload, dedupe)
    select 'gift-card-expiry', 'lapse', 1, jsonb_build_object('merchant', w.m, 'card', w.c),
      'lapse:' || w.c
    from unnest(c_merchant, c_id, c_state, c_balance, c_held, c_changed)
      as w (m, c, state, balance, held, changed)
    where w.changed and w.state = 'expired' and w.balance > w.held;
  end if;

  if any_moved then
    insert into transfer (merchant, id, kind, currency, amount, debit, credit, debit_card,
      credit_card, debit_sequence, credit_sequence, debit_balance, credit_balance, origin,
      origin_amount, refunded, actor, reference, location, reason, metadata, created_at)
    select w.m, w.id, w.kind, c_currency[w.c], abs(w.amount),
      case when w.out_of then 'card' else w.against end,
      case when not w.out_of or w.d is not null then 'card' else w.against end,
      case when w.out_of then c_id[w.c] end,
      case when not w.out_of then c_id[w.c] else c_id[w.d] end,
      case when w.out_of then w.sequence end,
      case when not w.out_of then w.sequence else w.sequence2 end,
      case when w.out_of then w.balance end,
      case when not w.out_of then w.balance else w.balance2 end,
      w.origin, w.origin_amount, case when w.kind = 'refund' then w.part end,
      w.actor, w.reference, w.location, w.reason, w.metadata::jsonb, w.at
    from (
      select u.*, case u.kind when 'redeem' then 'merchant_payable'::account_kind
          when 'refund' then 'merchant_payable'
          when 'load' then case u.op when 'top-up' then 'gateway_clearing'::account_kind
            else 'merchant_clearing' end
          when 'clawback' then 'refunds_pending' when 'giveback' then 'refunds_pending'
          when 'dispute' then 'disputes' when 'cash_out' then 'cash_out'
          when 'activate' then 'merchant_clearing' when 'adjust' then 'adjustments'
          when 'expire' then 'breakage' when 'reinstate' then 'breakage' end as against,
        case when u.op = 'capture' then u.part else u.whole end as amount
      from unnest(p_merchant, p_op, p_id, o_kind, o_amount, o_part, x, y, o_out, o_sequence,
        o_sequence2, o_balance, o_balance2, o_origin, origin_amount, p_actor, p_reference,
        o_location, p_reason, p_metadata, o_at)
        as u (m, op, id, kind, whole, part, c, d, out_of, sequence, sequence2, balance, balance2,
          origin, origin_amount, actor, reference, location, reason, metadata, at)
      where u.kind is not null
    ) w;
    if 'top-up' = any (p_op) then
      insert into gateway_posting (merchant, transfer, payment, kind, currency, amount, created_at)
      select u.m, u.id, u.payment, 'sale', c_currency[u.c], u.amount, u.at
      from unnest(p_merchant, p_op, p_id, p_other, o_kind, x, o_amount, o_at)
        as u (m, op, id, payment, kind, c, amount, at)
      where u.op = 'top-up' and u.kind is not null;
    end if;
  end if;

  if any_event or e_id is not null then
    with made as (
      insert into event (merchant, id, type, card, resource_id, sequence, data, actor, created_at)
      select u.m, u.event, u.type, c_id[u.c], u.id, u.revision, u.data, u.actor,
        u.at + (ticks + 2 * u.i) * microsecond
      from unnest(p_merchant, p_event, o_event, x, o_id, o_revision, o_data, p_actor, o_at)
        with ordinality as u (m, event, type, c, id, revision, data, actor, at, i)
      where u.type is not null
      union all
      select * from unnest(e_merchant, e_id, e_type, e_card, e_noun, e_sequence, e_data, e_actor,
        e_at)
      returning merchant, id, type
    )
    insert into outbox (topic, merchant, resource_id) -- if the merchant has subscribers
    select e.type, e.merchant, e.id from made e
    where exists (select from merchant z where z.id = e.merchant and z.followed);
  end if;

  if any_audit then
    insert into audit (merchant, id, actor, action, subject, after)
    select u.m, u.event, u.actor, u.type, 'crd_' || replace(c_id[u.c]::text, '-', ''),
      case when u.op = 'cash-out' then jsonb_build_object('amount', u.amount)
        else coalesce(u.data, jsonb_build_object('amount', abs(u.amount))) end
        || jsonb_strip_nulls(jsonb_build_object('reason', u.reason))
    from unnest(p_merchant, p_op, p_event, o_event, x, o_data, p_actor, p_reason, p_from_blocked,
        o_amount)
      as u (m, op, event, type, c, data, actor, reason, from_blocked, amount)
    where (u.op in ('block', 'unblock', 'close', 'reinstate', 'extend', 'cash-out') or u.from_blocked)
      and u.type is not null;
  end if;

  if any_key and any_thief then
    update idempotency q set operation = u.op, fingerprint = u.fingerprint, resource_id = u.id
    from unnest(p_id, o_thief) as o (id, thief)
    join unnest(p_merchant, p_key, p_op, p_fingerprint, p_id) with ordinality
      as u (m, key, op, fingerprint, id, n) on u.n = o.thief
    where q.merchant = u.m and q.key = u.key and q.resource_id = o.id;
  end if;
  if any_key and any_refused then
    delete from idempotency q
    using unnest(p_merchant, p_key, p_id, o_outcome) as u (m, key, id, outcome)
    where u.key is not null and u.outcome <> 'ok' and u.outcome <> 'replayed'
      and q.merchant = u.m and q.key = u.key and q.resource_id = u.id;
  end if;
  if any_answer then
    update idempotency q set answer = u.data
    from unnest(p_merchant, p_key, p_id, o_data, o_outcome) as u (m, key, id, data, outcome)
    where u.key is not null and u.data is not null and u.outcome = 'ok'
      and q.merchant = u.m and q.key = u.key and q.resource_id = u.id;
  end if;

  return query
    select u.outcome, u.id, c_id[u.c], c_currency[u.c], u.amount, u.part, u.balance, u.held,
      u.state::text, u.expires_at, u.noun, u.sequence, u.at
    from unnest(o_outcome, o_id, x, o_amount, o_part, o_balance, o_held, o_state, o_expires, o_noun,
        o_sequence, o_at) with ordinality
      as u (outcome, id, c, amount, part, balance, held, state, expires_at, noun, sequence, at, n)
    order by u.n;
end $$;
