-- Reset: a new PIN for a card, and all its tries again; the old PIN is dead from then on. A card that
-- had none has one from then on. Its sealed copy takes the place of the code's.
create or replace function florin.reset_pin(
  p_merchant uuid, p_card uuid, p_event uuid, p_pin bytea, p_sealed bytea, p_sealed_for interval,
  p_key text, p_fingerprint bytea, p_patience integer default 10000
) returns table (outcome text)
language plpgsql volatile security definer
set search_path = florin, pg_temp
as $$
#variable_conflict use_column
declare
  found_account record;
  before record;
begin
  perform set_config('lock_timeout', p_patience || 'ms', true);
  if p_key is not null then
    perform florin.claim_keys(array[p_merchant], array[p_key], array['reset-pin'],
      array[p_fingerprint], array[p_event], array[false], p_patience);
    select q.noun, q.operation, q.fingerprint into before from idempotency q
    where q.merchant = p_merchant and q.key = p_key;
    if before.noun is null then
      return query select 'busy'::text;
      return;
    elsif before.noun <> p_event then
      return query select case when before.operation = 'reset-pin'
        and before.fingerprint = p_fingerprint then 'replayed' else 'idempotency_key_reused' end;
      return;
    end if;
  end if;
  select a.state, a.revision, a.balance, a.held into found_account from account a
  where a.merchant = p_merchant and a.id = p_card for no key update;
  if found_account.state is null or found_account.state = 'closed' then
    delete from idempotency q where q.merchant = p_merchant and q.key = p_key
      and q.noun = p_event;
    return query select case when found_account.state is null then 'card_not_found'
      else 'card_closed' end;
    return;
  end if;
  update account a set pin_hash = p_pin, pin_failed = null, revision = a.revision + 1
  where a.merchant = p_merchant and a.id = p_card;
  update card z set sealed_code = p_sealed, sealed_until = clock_timestamp() + p_sealed_for
  where z.merchant = p_merchant and z.id = p_card;
  insert into event (merchant, id, type, card, noun, sequence, data, created_at)
  values (p_merchant, p_event, 'card.pin_reset', p_card, p_card, found_account.revision + 1,
    jsonb_build_object('state', found_account.state, 'balance', found_account.balance,
      'held', found_account.held), florin.clock(p_merchant));
  insert into outbox (topic, merchant, noun)
  select 'card.pin_reset', p_merchant, p_event from merchant z
  where z.id = p_merchant and z.followed;
  return query select 'ok'::text;
end $$;
