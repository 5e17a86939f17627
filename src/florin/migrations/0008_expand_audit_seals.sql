-- Seals of the audit: a chain of hashes for each merchant, and checkpoints over all of them. A job
-- seals the records after they were committed (identity/audit_seal.sql); `florin audit verify`
-- computes everything again.

create table audit_seal (
  merchant uuid not null,
  number bigint not null,             -- 1, 2, 3 … of the merchant
  record uuid not null,               -- the id of the audit record
  content bytea not null,             -- SHA-256 of the record
  hash bytea not null,                -- SHA-256 of the hash before, and of the content
  checkpoint bigint not null,
  primary key (merchant, number),
  unique (merchant, record)
);
create index audit_seal_by_checkpoint on audit_seal (checkpoint, merchant, number);
create trigger audit_seal_is_append_only before update or delete or truncate on audit_seal
  for each statement execute function refuse_change();

create table audit_checkpoint (
  number bigint primary key,
  seals bigint not null,              -- the number of all seals up to here
  complete boolean not null,          -- no record was left for a later call
  hash bytea not null,                -- SHA-256 of the hash before, the numbers and the new seals
  at timestamptz not null default clock_timestamp()
);
create trigger audit_checkpoint_is_append_only before update or delete or truncate on audit_checkpoint
  for each statement execute function refuse_change();
