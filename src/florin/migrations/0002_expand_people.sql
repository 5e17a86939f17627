-- People: sign-ins and their refresh tokens, second factors, invitations and one-time tokens,
-- lock-out, and the audit of what was administered.

alter table merchant
  add column second_factor_roles text[] not null default '{}'
    check (second_factor_roles <@ array['owner', 'manager', 'cashier', 'viewer']);

alter table member
  alter column password_hash drop not null, -- an invited member has none yet
  add column email_verified_at timestamptz,
  add column totp_sealed bytea,             -- AES-256-GCM, bound to merchant and member
  add column totp_confirmed_at timestamptz,
  add column totp_step bigint not null default 0, -- the last step a code was taken for: none twice
  add column recovery_hashes bytea[] not null default '{}',
  add constraint member_totp check (totp_confirmed_at is null or totp_sealed is not null);

alter table api_key
  add column location text check (length(location) between 1 and 255);

-- One sign-in: a family of refresh tokens, of which one is current. Hashes only: neither this row
-- alone nor an old token alone leads to the current one (see merchants/session.py).
create table session (
  merchant uuid not null,
  id uuid not null,
  member uuid not null,
  current_hash bytea not null,
  previous_hash bytea,                -- for the repeat of a lost answer
  nonce bytea,                        -- with the previous token it makes the current one
  client_hash bytea not null,         -- who may repeat it
  address_hash bytea not null,        -- where its member is known to sign in from
  second_factor boolean not null,
  created_at timestamptz not null default clock_timestamp(),
  rotated_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,    -- for good, however often it is refreshed
  revoked_at timestamptz,
  reused boolean not null default false, -- revoked because an old token came back
  primary key (merchant, id),
  foreign key (merchant, member) references member (merchant, id) on delete cascade,
  constraint session_reused check (not reused or revoked_at is not null)
);
create index session_by_member on session (merchant, member, id);
create index session_by_expiry on session (expires_at);

-- What is sent to a member's address once: a token to set a password or to prove the address. The
-- sealed copy waits for its delivery and is erased then; the hash is what the token is found by.
create table letter (
  merchant uuid not null,
  id uuid not null,
  member uuid not null,
  kind text not null check (kind in ('invitation', 'password_reset', 'email_verification')),
  hash bytea not null,
  sealed bytea,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  delivered_at timestamptz,
  used_at timestamptz,
  primary key (merchant, id),
  foreign key (merchant, member) references member (merchant, id) on delete cascade
);
create index letter_by_hash on letter (hash); -- its bearer names no merchant
create index letter_by_member on letter (merchant, member, kind);
create index letter_by_expiry on letter (expires_at);

-- Failed attempts at a door, by the keyed hash of what they have in common. No merchant: whoever
-- signs in names none.
create table attempt (
  subject bytea primary key,
  most integer not null,    -- failures before it closes
  failures integer not null,
  last_at timestamptz not null
);
create index attempt_by_age on attempt (last_at);

-- Who changed what; in the transaction of the change. Append-only like the ledger.
create table audit (
  merchant uuid not null,
  id uuid not null,
  actor text not null,
  action text not null,
  subject text not null,
  before jsonb,
  after jsonb,
  request_id text,
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id)
);
create index audit_by_actor on audit (merchant, actor, id);
create index audit_by_action on audit (merchant, action, id);
create index audit_by_subject on audit (merchant, subject, id);
create trigger audit_is_append_only before update or delete or truncate on audit
  for each statement execute function refuse_change();
