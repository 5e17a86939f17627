-- Analyze tables that have grown tenfold since they were last analyzed. While a table is nearly empty,
-- all its indexes have the same cost, and a session keeps a plan of that time until there are new
-- statistics: it would look for a card among all cards of its merchant. Autovacuum runs after a minute
-- or two; a job that issues thousands of cards calls this at the start of each slice.
create function analyze_grown() returns integer
language plpgsql volatile security definer set search_path from current as $$
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
