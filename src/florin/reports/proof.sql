-- Proof: recompute one merchant's balances from the entries, in one snapshot.
with entry as materialized (
  select t.debit_card as card, t.debit_sequence as sequence, -t.amount as change,
    t.debit_balance as after, t.currency
  from florin.transfer t where t.merchant = $1 and t.debit_card is not null
  union all
  select t.credit_card, t.credit_sequence, t.amount, t.credit_balance, t.currency
  from florin.transfer t where t.merchant = $1 and t.credit_card is not null
), running as (
  select e.card, e.sequence, e.after, e.currency,
    row_number() over (partition by e.card order by e.sequence) as nth,
    sum(e.change) over (partition by e.card order by e.sequence) as total
  from entry e
), by_card as (
  select r.card, count(*) as entries,
    (array_agg(r.total order by r.sequence desc))[1] as total,
    bool_and(r.nth = r.sequence) as gapless, bool_and(r.after = r.total) as chained,
    bool_and(r.after >= 0) as covered, count(distinct r.currency) as currencies
  from running r group by r.card
), held as (
  select h.card, sum(h.amount) as total, count(*) as holds
  from florin.hold h where h.merchant = $1 and h.state = 'open' group by h.card
), refunds as (
  select t.origin, sum(t.amount) as total, max(t.refunded) as stated
  from florin.transfer t where t.merchant = $1 and t.kind = 'refund' group by t.origin
), found as (
  select 'balance equals its entries' as check, a.id as card,
    format('balance %s, entries %s', a.balance, coalesce(b.total, 0)) as detail
  from florin.account a left join by_card b on b.card = a.id
  where a.merchant = $1 and a.balance <> coalesce(b.total, 0)
  union all
  select 'sequence has no gap', a.id,
    format('sequence %s, entries %s', a.sequence, coalesce(b.entries, 0))
  from florin.account a left join by_card b on b.card = a.id
  where a.merchant = $1
    and (a.sequence <> coalesce(b.entries, 0) or not coalesce(b.gapless, true))
  union all
  select 'each balance after follows from the one before', b.card, ''
  from by_card b where not b.chained or not b.covered
  union all
  select 'one card, one currency', b.card, '' from by_card b
  join florin.account a on a.merchant = $1 and a.id = b.card
  where b.currencies > 1
  union all
  select 'held equals the open holds', a.id,
    format('held %s, open holds %s', a.held, coalesce(h.total, 0))
  from florin.account a left join held h on h.card = a.id
  where a.merchant = $1 and a.held <> coalesce(h.total, 0)
  union all
  select 'refunds stay within their redemption', t.debit_card,
    format('redeemed %s, refunded %s, stated %s', t.amount, f.total, f.stated)
  from refunds f join florin.transfer t on t.merchant = $1 and t.id = f.origin
  where f.total > t.amount or f.total <> f.stated
  union all
  select 'an entry belongs to a card', e.card, '' from by_card e
  where not exists (select from florin.account a where a.merchant = $1 and a.id = e.card)
  union all
  select 'the accounts sum to nothing', null, format('%s: %s', s.currency, s.total)
  from (
    select x.currency, sum(x.change) as total from (
      select t.currency, t.amount as change from florin.transfer t where t.merchant = $1
      union all
      select t.currency, -t.amount from florin.transfer t where t.merchant = $1
    ) x group by x.currency
  ) s where s.total <> 0
)
select
  (select count(*) from florin.account a where a.merchant = $1) as cards,
  (select count(*) from entry) as entries,
  (select coalesce(sum(h.holds), 0)::bigint from held h) as open_holds,
  coalesce((
    select jsonb_agg(jsonb_build_object(
      'check', f.check, 'detail', f.detail,
      'card', 'crd_' || replace(f.card::text, '-', '')))
    from (select * from found limit 20) f), '[]')::text as differences,
  clock($1) as checked_at
