-- Erase what cards, orders and their deliveries know of the person with this e-mail address, or with this
-- number in E.164, of which one is null; return the number of cards. Money, codes and dates stay: they name
-- no one. A message that was not sent is cancelled; the next generation makes a worker that has it in hand
-- leave the row alone. An order that is still paid afterwards gets its cards, which are sent to no one.
create function erase_person(p_merchant uuid, p_email text, p_phone text) returns integer
language plpgsql volatile security definer set search_path from current as $$
declare
  found_cards integer;
  theirs uuid[];
  bought uuid[] := array(
    select o.id from orders o where o.merchant = p_merchant and lower(o.buyer_email) = lower(p_email));
  items uuid[];
  known text := lower(coalesce(p_email, p_phone));
begin
  theirs := array(
    select c.id from card c where c.merchant = p_merchant and lower(c.recipient_email) = lower(p_email)
    union
    select d.card from delivery d where d.merchant = p_merchant and d.card is not null
      and d.channel = 'sms' and lower(d.address) = p_phone);
  update delivery d set message = null, secret_sealed = null, secret_until = null,
    address = case when d.address is not null then 'erased' end,
    failure = case when d.state in ('waiting', 'due', 'sending') then 'its recipient was erased' end,
    state = case when d.state in ('waiting', 'due', 'sending') then 'cancelled' else d.state end,
    generation = d.generation + 1, changed_at = clock_timestamp()
  where d.merchant = p_merchant and (
    d.card = any (theirs)
    -- A member's own mails stay; of notices those to buyers are erased.
    or ((d.card is not null or (d.kind = 'notice' and d.member is null))
      and lower(d.address) = known));
  delete from suppression s where s.merchant = p_merchant and lower(s.address) = known;
  -- Each from its own index: of one condition with "or" all items of the merchant are read.
  items := array(
    select i.id from order_item i
    where i.merchant = p_merchant and lower(i.recipient_email) = lower(p_email)
    union
    select i.id from order_item i where i.merchant = p_merchant and i.deliver_phone = p_phone
    union
    select i.id from order_item i
    where i.merchant = p_merchant and i.orders = any (bought) and i.recipient_email is null);
  update order_item i set recipient_name = null, recipient_email = null, message = null,
    deliver_phone = null
  where i.merchant = p_merchant and i.id = any (items);
  update orders o set buyer_name = null, buyer_email = null,
    metadata = (select coalesce(jsonb_object_agg(p.key, p.value), '{}')
      from jsonb_each_text(o.metadata) p where position(lower(p_email) in lower(p.value)) = 0)
  where o.merchant = p_merchant and lower(o.buyer_email) = lower(p_email);
  update card c set recipient_name = null, recipient_email = null,
    metadata = (select coalesce(jsonb_object_agg(p.key, p.value), '{}')
      from jsonb_each_text(c.metadata) p where position(known in lower(p.value)) = 0)
  where c.merchant = p_merchant and c.id = any (theirs);
  get diagnostics found_cards = row_count;
  return found_cards;
end $$;
