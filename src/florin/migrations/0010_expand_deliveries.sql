-- Deliveries: what is sent to a person, and the links to the pages of cards.

-- One row for each cause, written in the transaction of the cause; workers send it. `due_at` is a
-- time of the merchant's clock. No foreign keys to card and merchant: their check would lock a row
-- that money locks, too; neither is ever deleted.
create table delivery (
  merchant uuid not null,
  id uuid not null,
  cause text not null check (length(cause) between 1 and 200), -- one delivery for each
  kind text not null check (kind in
    ('gift', 'reminder', 'invitation', 'password_reset', 'email_verification', 'notice')),
  channel text not null check (channel in ('email', 'sms', 'link')),
  state text not null check (state in
    ('waiting', 'due', 'sending', 'sent', 'delivered', 'bounced', 'failed', 'cancelled')),
  card uuid,
  member uuid,                       -- of an account's e-mail
  address text check (length(address) between 1 and 254),
  locale text not null default 'en' check (length(locale) between 2 and 35),
  message text check (length(message) <= 1000),
  data jsonb not null default '{}',  -- what the text needs and no other row holds
  due_at timestamptz not null,
  -- What was asked for, without offset, in `timezone`; due_at follows from it.
  local_time text check (local_time ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d$'),
  timezone text check (length(timezone) between 1 and 100),
  generation integer not null default 1 check (generation >= 1), -- raised by each resend
  attempts integer not null default 0,  -- of this generation
  repeated integer not null default 0,  -- attempts after one whose outcome is unknown
  failure text check (length(failure) <= 500),
  secret_sealed bytea,               -- the token of its link; AES-256-GCM, bound to this row
  secret_until timestamptz,          -- erased then
  created_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp(),
  sent_at timestamptz,
  primary key (merchant, id),
  unique (merchant, cause),
  constraint delivery_local check ((local_time is null) = (timezone is null)),
  constraint delivery_address check (address is not null or channel = 'link'),
  constraint delivery_sealed check ((secret_sealed is null) = (secret_until is null))
) with (fillfactor = 80);
create index delivery_by_card on delivery (merchant, card, id) where card is not null;
create index delivery_waiting on delivery (due_at) where state = 'waiting';
create index delivery_unsent on delivery (changed_at) where state in ('due', 'sending');
create index delivery_secret on delivery (secret_until) where secret_sealed is not null;

-- A link to the page of a card. Found by the keyed hash of its token, which names no merchant. The
-- code is sealed under a key that follows from the token and FLORIN_SEAL_KEY: neither this row nor
-- the settings alone lead to it. It is erased when the link is revoked.
create table card_link (
  merchant uuid not null,
  id uuid not null,
  card uuid not null,
  token_hash bytea not null,
  sealed_code bytea,
  created_at timestamptz not null default clock_timestamp(),
  revoked_at timestamptz,
  primary key (merchant, id),
  constraint card_link_revoked check ((revoked_at is null) = (sealed_code is not null))
);
create index card_link_by_hash on card_link (token_hash);
create index card_link_open on card_link (merchant, card) where revoked_at is null;
