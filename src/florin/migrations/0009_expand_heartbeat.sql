-- One row that the instances renew while they watch replicas: how old it is on a replica tells how
-- far that is behind, also when nothing else is written, and when it is cut off.
create table heartbeat (
  id boolean primary key default true check (id),
  at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
insert into heartbeat default values;
