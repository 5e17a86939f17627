-- Sets of SQL functions, one schema each; which releases use them; the processes that run.

create table function_set (
  name text primary key check (name ~ '^florin_[0-9a-f]{12}$'), -- the schema
  grants text not null,          -- of the application's role; {role} is its name
  schema_number integer not null, -- the latest migration that the code of its first release knows
  installed_at timestamptz not null default clock_timestamp()
);

create table function_set_release (
  release text primary key,
  function_set text not null references function_set (name) on delete cascade,
  migrated_at timestamptz not null default clock_timestamp()
);
create index function_set_release_by_set on function_set_release (function_set);

-- Instances and workers that run: they renew their row and delete it when they stop.
create table process (
  id uuid primary key,
  name text not null,
  release text not null,
  function_set text not null,
  schema_number integer not null, -- the latest migration that its code knows
  started_at timestamptz not null default clock_timestamp(),
  seen_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- A process that did not renew its row for ten minutes runs no more. After a restart of the server
-- all of them have ten minutes to renew theirs.
create view live_process as
select p.* from process p
where p.seen_at > case
  when pg_postmaster_start_time() > clock_timestamp() - interval '10 minutes'
    then pg_postmaster_start_time() else clock_timestamp() end - interval '10 minutes';

-- Of a contract migration: the releases that run must know the migration of this number.
alter table migration add column needs integer;
