-- Pay out: book the operator's commissions of one merchant, and what is owed to it as paid, for payments
-- that the installation's own gateways collected up to p_until. Each payment is settled to zero, so that
-- gateway_clearing stays explained payment by payment; a refund after a payout makes the next one smaller.
-- A fee in another currency, that of the gateway's account, is no part of the sum: it stays owed in its own.
-- Left out: payments in review, whose cards are being issued, with an open dispute or a refund on its way.
-- Less than p_minimum is not paid out: the amount is 0 then, and commissions alone are booked.
create function pay_out(
  p_merchant uuid, p_payout uuid, p_currency text, p_until timestamptz, p_minimum bigint, p_actor text
) returns table (amount bigint, commission bigint, payments integer)
language plpgsql volatile security definer set search_path from current as $$
#variable_conflict use_column
declare
  own constant uuid := '00000000-0000-0000-0000-000000000000'; -- the installation's own gateway
  now_here timestamptz;
  settled uuid[]; owed bigint[]; total bigint; kept bigint;
begin
  perform begin_money();
  -- Two payouts of one merchant wait here for each other.
  insert into settlement as s (merchant, currency, payouts) values (p_merchant, p_currency, 1)
  on conflict (merchant, currency) do update set payouts = s.payouts + 1;
  now_here := clock(p_merchant);

  with due as materialized (
    select p.id as payment, new_id() as transfer,
      round(sum(g.amount) * r.basis_points / 10000.0)::bigint as amount
    from payment p
    join orders o on o.merchant = p.merchant and o.paid_by = p.id and o.id = p.orders
    join gateway_posting g on g.merchant = p.merchant and g.payment = p.id
      and g.currency = p_currency
      and g.kind in ('sale', 'receipt', 'applied', 'gateway_refund', 'refund_returned')
    cross join lateral (select z.basis_points from commission_rate z
      where z.merchant = p.merchant and z.valid_from <= p.paid_at
      order by z.valid_from desc, z.id desc limit 1) r
    where p.merchant = p_merchant and p.gateway = own and p.received_currency = p_currency
      and p.paid_at <= p_until and o.state = 'fulfilled'
      and not exists (select from gateway_posting c where c.merchant = p.merchant
        and c.payment = p.id and c.kind = 'commission')
    group by p.id, r.basis_points
  ), charged as (
    insert into transfer (merchant, id, kind, currency, amount, debit, credit, actor, reference,
      created_at)
    select p_merchant, d.transfer, 'commission', p_currency, d.amount, 'commissions',
      'gateway_clearing', p_actor, 'pay_' || replace(d.payment::text, '-', ''), now_here
    from due d where d.amount > 0
  ), posted as (
    insert into gateway_posting (merchant, transfer, payment, kind, currency, amount, created_at)
    select p_merchant, d.transfer, d.payment, 'commission', p_currency, -d.amount, now_here
    from due d where d.amount > 0
  )
  select coalesce(sum(d.amount) filter (where d.amount > 0), 0) into kept from due d;

  select array_agg(e.id), array_agg(e.balance), sum(e.balance) into settled, owed, total
  from (
    select p.id, sum(g.amount)::bigint as balance
    from payment p
    join orders o on o.merchant = p.merchant and o.id = p.orders
    join gateway_posting g on g.merchant = p.merchant and g.payment = p.id
      and g.currency = p_currency
    where p.merchant = p_merchant and p.gateway = own and p.received_currency = p_currency
      and p.paid_at <= p_until and o.state not in ('review', 'paid')
      and not exists (select from dispute d where d.merchant = p.merchant and d.payment = p.id
        and d.state = 'open')
      and not exists (select from payment_refund f where f.merchant = p.merchant
        and f.payment = p.id and f.state = 'asked')
    group by p.id having sum(g.amount) <> 0
  ) e;
  if coalesce(total, 0) < p_minimum then
    return query select 0::bigint, kept, 0;
    return;
  end if;
  perform settle_payments(p_merchant, p_payout, p_currency, settled, owed, p_actor, now_here, null);
  return query select total, kept, cardinality(settled);
end $$;

-- Undo a payout that did not arrive: what it settled is owed again. Commissions stay.
create function undo_payout(p_merchant uuid, p_payout uuid, p_actor text, p_reason text)
returns void
language plpgsql volatile security definer set search_path from current as $$
#variable_conflict use_column
declare
  settled uuid[]; owed bigint[]; named text;
begin
  perform begin_money();
  select array_agg(g.payment), array_agg(g.amount), min(g.currency) into settled, owed, named
  from gateway_posting g
  where g.merchant = p_merchant and g.payout = p_payout and g.kind = 'payout';
  perform settle_payments(p_merchant, p_payout, named, settled, owed, p_actor, clock(p_merchant),
    p_reason);
end $$;

-- Book amounts that are paid to the merchant, or where they are negative, kept back, one for each payment.
create function settle_payments(
  p_merchant uuid, p_payout uuid, p_currency text, p_payments uuid[], p_amounts bigint[],
  p_actor text, p_at timestamptz, p_reason text
) returns void
language plpgsql volatile set search_path from current as $$
begin
  with one as materialized (
    select new_id() as transfer, u.payment, u.amount
    from unnest(p_payments, p_amounts) as u (payment, amount)
  ), moved as (
    insert into transfer (merchant, id, kind, currency, amount, debit, credit, actor, reference,
      reason, created_at)
    select p_merchant, o.transfer, 'payout', p_currency, abs(o.amount),
      case when o.amount > 0 then 'bank'::account_kind else 'gateway_clearing' end,
      case when o.amount > 0 then 'gateway_clearing'::account_kind else 'bank' end,
      p_actor, 'pay_' || replace(o.payment::text, '-', ''), p_reason, p_at
    from one o
  )
  insert into gateway_posting (merchant, transfer, payment, kind, currency, amount, created_at,
    payout)
  select p_merchant, o.transfer, o.payment, 'payout', p_currency, -o.amount, p_at, p_payout
  from one o;
end $$;
