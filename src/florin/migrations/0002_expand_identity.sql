-- Members, API keys, sign-ins and their refresh tokens, second factors, e-mail tokens, lock-out, and
-- the audit log.

create table member (
  merchant uuid not null references merchant (id),
  id uuid not null,
  email text not null,
  password_hash text,                 -- null: invited, has none yet
  role text not null check (role in ('owner', 'manager', 'cashier', 'viewer')),
  email_verified_at timestamptz,
  totp_sealed bytea,                  -- AES-256-GCM, bound to merchant and member
  totp_confirmed_at timestamptz,
  totp_step bigint not null default 0, -- the last step a code was taken for: none twice
  recovery_hashes bytea[] not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id),
  unique (merchant, email),
  constraint member_totp check (totp_confirmed_at is null or totp_sealed is not null)
);
-- Signing in names no merchant. An address belongs to one member: see merchants/registration.py.
create index member_by_email on member (email);

create table api_key (
  merchant uuid not null references merchant (id),
  id uuid not null,
  name text not null,
  scopes text[] not null,
  hash bytea not null,
  location text check (length(location) between 1 and 255),
  made_by text, -- usr_…, key_…, or florin; null: not known
  created_at timestamptz not null default clock_timestamp(),
  revoked_at timestamptz,
  primary key (merchant, id)
);
create index api_key_by_hash on api_key (hash);

-- One sign-in: a family of refresh tokens, of which one is current. Hashes only: neither this row
-- alone nor an old token alone leads to the current one (see identity/sessions.py).
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
  proved_at timestamptz,              -- when its member last proved who it is
  created_at timestamptz not null default clock_timestamp(),
  rotated_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,    -- however often it is refreshed
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
create table email_token (
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
create index email_token_by_hash on email_token (hash); -- its bearer names no merchant
create index email_token_by_member on email_token (merchant, member, kind);
create index email_token_by_expiry on email_token (expires_at);

-- Failed attempts, by the keyed hash of what they have in common. No merchant: a sign-in names none.
create table failed_attempt (
  subject bytea primary key,
  most integer not null,    -- failures before it locks
  failures integer not null,
  last_at timestamptz not null
);
create index failed_attempt_by_age on failed_attempt (last_at);

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
