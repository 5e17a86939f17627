-- Fair turns: each merchant has one place in line after the other, whatever it put into a queue.

-- Jobs of one merchant that run at once; null: no limit.
alter table queue add column at_once_merchant integer check (at_once_merchant >= 1);

alter table queue_job
  add column merchant uuid,                    -- whose job it is; null: Florin's own
  add column place bigint not null default 0;  -- its turn: one of each merchant, then the next
update queue_job set merchant = (payload->>'merchant')::uuid where payload ? 'merchant';
create index queue_job_line on queue_job (queue, priority desc, place, due_at, id) where state = 0;
create index queue_job_by_merchant on queue_job (queue, merchant, place)
  where state <> 2 and merchant is not null;
drop index queue_job_ready;
