-- Analyse what has grown tenfold since it was analysed last. While a table is nearly empty all its
-- indexes cost the same, and what a session plans then it keeps until there are new statistics:
-- a card is looked for among all of its merchant. Autovacuum comes after a minute or two; a job
-- that makes cards by the thousand asks for it as soon as it goes on.
create or replace function florin.analyze_grown() returns integer
language plpgsql volatile security definer set search_path = florin, pg_temp as $$
declare
  grown regclass;
  analyzed integer := 0;
begin
  for grown in
    select c.oid from pg_class c
    where c.oid in ('account'::regclass, 'card'::regclass, 'transfer'::regclass, 'event'::regclass)
      and pg_stat_get_live_tuples(c.oid) > 10 * greatest(c.reltuples, 50)
  loop
    execute format('analyze (skip_locked) %s', grown);
    analyzed := analyzed + 1;
  end loop;
  return analyzed;
end $$;
