-- Who caused what: the actor of each event, and the principal that downloads the codes of a job.

-- Null: the event is older than this column.
alter table event add column actor text;

-- `downloading` replaces `leaving`, which instances of the release before may still write.
alter table job drop constraint job_codes_check;
alter table job add constraint job_codes_check
  check (codes in ('waiting', 'leaving', 'downloading', 'taken', 'expired', 'none')) not valid;
alter table job
  add column download_actor text,                 -- began it: only this principal may repeat it
  add column download_number integer not null default 0; -- fences a reader that lost its download
