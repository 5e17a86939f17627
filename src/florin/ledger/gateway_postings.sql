-- Money that moves between accounts without a card: at gateways, in refunds and disputes. The kinds and
-- their sides are fixed here; the caller chooses none. Returns the id of the transfer.
create function post_gateway(
  p_merchant uuid, p_transfer uuid, p_kind text, p_currency text, p_amount bigint, p_payment uuid,
  p_actor text, p_reason text default null
) returns uuid
language plpgsql volatile security definer set search_path from current as $$
declare
  side record;
  now_here timestamptz;
begin
  perform begin_money();
  select s.* into side from (values
    ('receipt', 'gateway_clearing', 'refunds_pending'),
    ('gateway_refund', 'refunds_pending', 'gateway_clearing'),
    ('refund_returned', 'gateway_clearing', 'refunds_pending'),
    ('applied', 'refunds_pending', 'gateway_clearing'), -- a receipt that goes to the cards of its order
    ('gateway_fee', 'gateway_fees', 'gateway_clearing'),
    ('payout', 'bank', 'gateway_clearing'),
    ('dispute', 'disputes', 'gateway_clearing'),
    ('dispute_won', 'gateway_clearing', 'disputes'),
    ('refund_loss', 'refund_loss', 'refunds_pending'),
    ('refund_loss_undone', 'refunds_pending', 'refund_loss'),
    ('receipt_disputed', 'refunds_pending', 'disputes'), -- of a receipt, what a lost dispute returned
    ('chargeback_loss', 'chargeback_loss', 'disputes')
  ) s (kind, debit, credit) where s.kind = p_kind;
  if side.kind is null then
    raise exception 'unknown kind %', p_kind using errcode = 'invalid_parameter_value';
  end if;
  now_here := clock(p_merchant);
  insert into transfer (merchant, id, kind, currency, amount, debit, credit, actor, reference, reason,
    created_at)
  values (p_merchant, p_transfer,
    case when p_kind in ('refund_loss', 'refund_loss_undone', 'chargeback_loss') then 'write_off'
      when p_kind in ('refund_returned', 'applied') then 'receipt'
      when p_kind = 'receipt_disputed' then 'dispute' else p_kind end::transfer_kind,
    p_currency, p_amount, side.debit::account_kind, side.credit::account_kind, p_actor,
    'pay_' || replace(p_payment::text, '-', ''), p_reason, now_here);
  if 'gateway_clearing' in (side.debit, side.credit) then
    insert into gateway_posting (merchant, transfer, payment, kind, currency, amount, created_at)
    values (p_merchant, p_transfer, p_payment, p_kind, p_currency,
      case side.debit when 'gateway_clearing' then p_amount else -p_amount end, now_here);
  end if;
  return p_transfer;
end $$;

-- Events of things that are not cards, in their order: each of `p_data` is the whole object as it was.
create function record_events(
  p_merchant uuid, p_event uuid[], p_type text[], p_noun uuid[], p_data jsonb[], p_actor text
) returns void
language plpgsql volatile security definer set search_path from current as $$
begin
  if exists (select from unnest(p_type) t
      where t !~ '^(order|payment|payment_refund|dispute|gateway)\.') then
    raise exception 'no events of these kinds: %', p_type using errcode = 'invalid_parameter_value';
  end if;
  perform begin_money();
  with recorded as (
    insert into event (merchant, id, type, resource_id, sequence, data, actor, created_at)
    select p_merchant, u.id, u.type, u.noun, 1, u.data, p_actor, m.at
    from unnest(p_event, p_type, p_noun, p_data) with ordinality as u (id, type, noun, data, n)
    cross join (select clock(p_merchant) as at) m
    order by u.n
  )
  insert into outbox (topic, merchant, resource_id)
  select u.type, p_merchant, u.id
  from unnest(p_event, p_type) with ordinality as u (id, type, n)
  where exists (select from merchant m where m.id = p_merchant and m.followed)
  order by u.n;
end $$;
