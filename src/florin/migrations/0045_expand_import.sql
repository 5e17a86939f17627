-- Import: the lines of a file of cards, sealed, until their job has made them cards. A part whose
-- job is not known is of a file that never arrived; no foreign key, for parts come first.
create table job_part (
  merchant uuid not null,
  job uuid not null,
  nth integer not null,
  sealed bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, job, nth)
);
create index job_part_by_age on job_part (created_at);
alter table job add column refused integer not null default 0;  -- lines; `errors` has the first
