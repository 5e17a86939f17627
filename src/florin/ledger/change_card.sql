-- Change what is known of a card apart from its money: the recipient, if p_recipient, and the metadata,
-- if given. outcome: ok | replayed | busy | a refusal. The event names the fields, not their values.
create function change_card(
  p_merchant uuid, p_card uuid, p_event uuid, p_recipient boolean, p_name text, p_email text,
  p_metadata text, p_key text, p_fingerprint bytea, p_actor text, p_patience integer default 10000
) returns table (outcome text)
language plpgsql volatile security definer
set search_path from current
as $$
declare
  may text := begin_secret(p_merchant, p_card, p_event, 'change-card', p_key, p_fingerprint,
    p_patience);
begin
  if may = 'ok' then
    update card z set
      recipient_name = case when p_recipient then p_name else z.recipient_name end,
      recipient_email = case when p_recipient then p_email else z.recipient_email end,
      metadata = coalesce(p_metadata::jsonb, z.metadata)
    where z.merchant = p_merchant and z.id = p_card;
    update account a set revision = a.revision + 1
    where a.merchant = p_merchant and a.id = p_card;
    perform end_secret(p_merchant, p_card, p_event, 'card.changed', jsonb_build_object('changed',
      array_remove(array[case when p_recipient then 'recipient' end,
        case when p_metadata is not null then 'metadata' end], null)), p_actor);
  end if;
  return query select may;
end $$;
