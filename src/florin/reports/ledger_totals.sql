-- Ledger totals: the balances of all cards and the entries of all merchants, in one snapshot.
-- `unbalanced` counts pairs of merchant and currency whose cards hold more or less than their entries
-- put there; `differences` has the amounts by currency, `liability` and `moved` leave test merchants
-- out. Amounts in minor units.
with balance as (
  select a.merchant, a.currency, sum(a.balance) as total from florin.account a group by 1, 2
), moved as (
  select t.merchant, t.currency, t.kind, count(*) as entries, sum(t.amount) as amount,
    sum(t.amount) filter (where t.credit_card is not null) as added,
    sum(t.amount) filter (where t.debit_card is not null) as taken
  from florin.transfer t group by 1, 2, 3
), entry as (
  select m.merchant, m.currency, coalesce(sum(m.added), 0) - coalesce(sum(m.taken), 0) as total
  from moved m group by 1, 2
), difference as (
  select currency, abs(coalesce(b.total, 0) - coalesce(e.total, 0)) as amount
  from balance b full join entry e using (merchant, currency)
)
select jsonb_build_object(
  'unbalanced', (select count(*) from difference d where d.amount <> 0),
  'differences', (select coalesce(jsonb_object_agg(s.currency, s.amount), '{}') from (
    select d.currency, sum(d.amount) as amount from difference d group by 1) s),
  'liability', (select coalesce(jsonb_object_agg(s.currency, s.total), '{}') from (
    select b.currency, sum(b.total) as total from balance b
    join florin.merchant m on m.id = b.merchant and not m.test group by 1) s),
  'moved', (select coalesce(jsonb_agg(jsonb_build_array(s.kind, s.currency, s.entries, s.amount)), '[]')
    from (
      select v.kind, v.currency, sum(v.entries) as entries, sum(v.amount) as amount
      from moved v join florin.merchant m on m.id = v.merchant and not m.test group by 1, 2) s)
)::text
