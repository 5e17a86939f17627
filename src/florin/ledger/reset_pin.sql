-- Reset: replace the PIN of a card and reset its count of wrong attempts; the old PIN no longer works.
-- A card without a PIN has one from then on. The sealed copy of the PIN replaces that of the code.
-- Instances of the release before name no actor.
create function reset_pin(
  p_merchant uuid, p_card uuid, p_event uuid, p_pin bytea, p_sealed bytea, p_sealed_for interval,
  p_key text, p_fingerprint bytea, p_actor text default null, p_patience integer default 10000
) returns table (outcome text)
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
  may text := begin_secret(p_merchant, p_card, p_event, 'reset-pin', p_key, p_fingerprint,
    p_patience);
begin
  if may = 'ok' then
    update account a set pin_hash = p_pin, pin_failed = null, revision = a.revision + 1
    where a.merchant = p_merchant and a.id = p_card;
    update card z set sealed_code = p_sealed, sealed_until = clock_timestamp() + p_sealed_for
    where z.merchant = p_merchant and z.id = p_card;
    perform end_secret(p_merchant, p_card, p_event, 'card.pin_reset', '{}', p_actor);
    perform keep_secret_answer(p_merchant, p_card, p_key);
  end if;
  return query select may;
end $$;
