-- What is due: cards past their end, holds past theirs, sealed codes past their time; and jobs that
-- merchants ask for, such as issuing many cards.

create index account_due on account (merchant, expires_at)
  where state in ('active', 'blocked') and expires_at is not null;
create index hold_due on hold (merchant, expires_at) where state = 'open';
create index card_sealed on card (sealed_until) where sealed_code is not null;

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
    check (codes in ('waiting', 'leaving', 'taken', 'expired', 'none')),
  leaving_until timestamptz,     -- somebody takes the codes; until then nobody else does
  created_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (merchant, id),
  constraint job_done check (done between 0 and total and (state <> 'finished' or done = total))
);

-- The codes of a job, sealed, some hundred a sheet, until they are taken.
create table job_sheet (
  merchant uuid not null,
  job uuid not null,
  nth integer not null,          -- the first card's number within the job
  sealed bytea not null,
  primary key (merchant, job, nth),
  foreign key (merchant, job) references job (merchant, id)
);
alter table job_sheet alter column sealed set storage external; -- sealed bytes do not compress
