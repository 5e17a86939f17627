-- Jobs that merchants ask for, such as issuing many cards.

create table job (
  merchant uuid not null,
  id uuid not null,
  kind text not null check (kind in ('bulk', 'import')),
  program uuid,
  amount bigint check (amount between 1 and 1000000000000),
  total integer not null check (total between 1 and 1000000),
  done integer not null default 0,
  state text not null default 'queued' check (state in ('queued', 'running', 'finished')),
  actor text not null,
  errors jsonb not null default '[]',
  codes text not null default 'waiting'
    check (codes in ('waiting', 'downloading', 'taken', 'expired', 'none')),
  downloading_until timestamptz, -- the lease of a download: until then no other begins
  download_actor text,           -- began it: only this principal may repeat it
  download_number integer not null default 0, -- fences a reader that lost its download
  refused integer not null default 0,         -- lines of an import; `errors` has the first
  location text check (length(location) between 1 and 255), -- of the key that asked for it
  -- Whether its amounts were checked against its program's limits when it was accepted: else they are
  -- checked when the cards are issued.
  amounts_accepted boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (merchant, id),
  constraint job_done check (done between 0 and total and (state <> 'finished' or done = total))
);

-- The codes of a job, sealed, a thousand a block, until they are taken.
create table job_code_export (
  merchant uuid not null,
  job uuid not null,
  part_number integer not null,  -- the first card's number within the job
  sealed bytea not null,
  primary key (merchant, job, part_number),
  foreign key (merchant, job) references job (merchant, id)
);
alter table job_code_export alter column sealed set storage external; -- sealed bytes do not compress

-- Import: the lines of a file of cards, sealed, until their job has made them cards. A part whose job
-- does not exist belongs to a file that was cut off; no foreign key, since parts come first.
create table job_part (
  merchant uuid not null,
  job uuid not null,
  part_number integer not null,
  sealed bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, job, part_number)
);
create index job_part_by_age on job_part (created_at);
