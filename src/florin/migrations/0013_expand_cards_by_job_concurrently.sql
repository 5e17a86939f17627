-- The cards of a job, in the order of the list. Cards that no job made cost nothing.
create index concurrently if not exists card_by_job on card (merchant, job, issued_at, id)
  where job is not null;
