-- Merchants, programs; the ledger: accounts of cards, transfers, holds, keys, events; quotas.
-- Every primary, unique and foreign key begins with the merchant, so that the schema shards by
-- merchant.

create type account_kind as enum (
  'card',              -- what is owed to the holder of a card
  'merchant_clearing', -- what the merchant collected itself for cards it sold outside Florin
  'gateway_clearing',  -- what a payment gateway collected and has not settled yet
  'merchant_payable',  -- what was spent on cards at the merchant
  'breakage',          -- what expired
  'promotions',        -- value given away
  'adjustments'        -- corrections by hand
);
create type transfer_kind as enum (
  'issue', 'activate', 'load', 'redeem', 'refund', 'transfer', 'adjust', 'expire', 'reinstate'
);
create type card_state as enum ('pending', 'active', 'blocked', 'expired', 'closed');
create type hold_state as enum ('open', 'captured', 'voided', 'expired');

create table merchant (
  id uuid primary key,
  name text not null,
  country text not null check (country ~ '^[A-Z]{2}$'),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  timezone text not null default 'UTC',
  test boolean not null default false,
  clock_offset interval not null default '0' check (test or clock_offset = '0'),
  second_factor_roles text[] not null default '{}'
    check (second_factor_roles <@ array['owner', 'manager', 'cashier', 'viewer']),
  followed boolean not null default false, -- without, its events are not put into the outbox
  created_at timestamptz not null default clock_timestamp()
);

create table program (
  merchant uuid not null references merchant (id),
  id uuid not null,
  name text not null,
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  min_amount bigint not null check (min_amount >= 1),
  max_amount bigint not null check (max_amount between min_amount and 1000000000000),
  denominations bigint[],
  expires_after_months integer check (expires_after_months between 1 and 1200),
  partial_redemption boolean not null default true,
  pin boolean not null default false,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id)
);

-- The account of a card: the one row that is locked when its money moves. Narrow, and with room
-- left on its pages, so that a change of balance touches no index.
-- It has no foreign key to its program, and keys and events have none to their merchant: the check
-- of a foreign key locks the row it points to, and nothing may be locked by every transaction.
-- Programs and merchants are never deleted (see grants.sql); the ledger's functions read them.
create table account (
  merchant uuid not null,
  id uuid not null,
  program uuid not null,
  currency text not null,
  state card_state not null,
  partial boolean not null,             -- may be spent in parts
  code_hash bytea not null,             -- HMAC-SHA-256 of the code, keyed outside the database
  face bigint not null check (face >= 1), -- the amount it is, or will be, activated with
  balance bigint not null default 0,
  held bigint not null default 0,
  sequence bigint not null default 0,   -- entries so far: gapless
  revision bigint not null default 0,   -- events so far: gapless
  expires_at timestamptz,
  expires_after_months integer,         -- of its program at issue; null: never expires
  blocked boolean not null default false, -- also while the card is expired
  issued_at timestamptz not null default clock_timestamp(), -- one index narrows and orders the list
  -- On the row that is locked when the card's money moves, so that attempts are counted exactly.
  pin_hash bytea,   -- SHA-256 of the card's id and the PIN's HMAC, keyed outside the database
  pin_failed bytea, -- 16 bytes for each wrong PIN since the last right one
  primary key (merchant, id),
  unique (merchant, code_hash),
  constraint account_balance check (balance between 0 and 9000000000000000),
  constraint account_held check (held between 0 and balance),
  constraint account_pending check (state <> 'pending' or balance = 0),
  constraint account_closed check (state <> 'closed' or (balance = 0 and held = 0))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index account_due on account (merchant, expires_at)
  where state in ('active', 'blocked') and expires_at is not null;

-- What is known of a card apart from its money.
create table card (
  merchant uuid not null,
  id uuid not null,
  last4 text not null,
  recipient_name text,
  recipient_email text,
  metadata jsonb not null default '{}',
  sealed_code bytea,           -- AES-256-GCM, bound to merchant and card; erased at sealed_until
  sealed_until timestamptz,
  issued_at timestamptz not null,
  primary key (merchant, id),
  foreign key (merchant, id) references account (merchant, id)
);
create index card_by_last4 on card (merchant, last4, id);
create index card_sealed on card (sealed_until) where sealed_code is not null;

-- Cards by a pair of their metadata: one row a pair, in the order of the list. The pair is hashed,
-- so that an index entry has one size however long the value is. Cards without metadata cost nothing.
create table card_metadata (
  merchant uuid not null,
  token bytea not null,
  issued_at timestamptz not null,
  card uuid not null,
  primary key (merchant, token, issued_at, card)
);

create function metadata_token(p_key text, p_value text) returns bytea
language sql immutable strict parallel safe as $$
  select substring(sha256(convert_to(jsonb_build_array(p_key, p_value)::text, 'UTF8')) for 16)
$$;

create function remember_metadata() returns trigger
language plpgsql set search_path = florin, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    delete from card_metadata s
    using jsonb_each_text(old.metadata) p
    where s.merchant = old.merchant and s.token = metadata_token(p.key, p.value)
      and s.issued_at = old.issued_at and s.card = old.id;
  end if;
  insert into card_metadata (merchant, token, issued_at, card)
  select new.merchant, metadata_token(p.key, p.value), new.issued_at, new.id
  from jsonb_each_text(new.metadata) p;
  return null;
end $$;
create trigger card_metadata_is_found after insert on card
  for each row when (new.metadata <> '{}') execute function remember_metadata();
create trigger card_metadata_is_kept after update of metadata on card
  for each row when (new.metadata is distinct from old.metadata)
  execute function remember_metadata();

-- One row a movement between two accounts. A side that is a card has that card's next
-- sequence number and its balance afterwards. The other kinds of account have no row anywhere:
-- nothing is locked that every transaction would need; their balances are sums over this table.
create table transfer (
  merchant uuid not null,
  id uuid not null,
  kind transfer_kind not null,
  currency text not null,
  amount bigint not null check (amount >= 1),
  debit account_kind not null,
  credit account_kind not null,
  debit_card uuid,
  credit_card uuid,
  debit_sequence bigint check (debit_sequence >= 1),
  credit_sequence bigint check (credit_sequence >= 1),
  debit_balance bigint check (debit_balance >= 0),
  credit_balance bigint check (credit_balance >= 0),
  origin uuid,              -- of a refund its redemption, of a captured redemption its hold
  origin_amount bigint,     -- of a refund: what the redemption took
  refunded bigint,          -- of a refund: returned so far, this one included
  actor text not null,
  reference text,
  location text,
  reason text,
  metadata jsonb,
  created_at timestamptz not null,
  primary key (merchant, id),
  foreign key (merchant, debit_card) references account (merchant, id),
  foreign key (merchant, credit_card) references account (merchant, id),
  constraint transfer_debit check ((debit = 'card') = (debit_card is not null)
    and (debit_card is null) = (debit_sequence is null)
    and (debit_card is null) = (debit_balance is null)),
  constraint transfer_credit check ((credit = 'card') = (credit_card is not null)
    and (credit_card is null) = (credit_sequence is null)
    and (credit_card is null) = (credit_balance is null)),
  constraint transfer_sides check (debit <> credit or debit_card <> credit_card),
  constraint transfer_refund check ((kind = 'refund') = (refunded is not null)
    and (refunded is null or (origin is not null and refunded between amount and origin_amount)))
) with (autovacuum_vacuum_insert_scale_factor = 0.05);
create unique index transfer_debit_sequence on transfer (merchant, debit_card, debit_sequence)
  where debit_card is not null;
create unique index transfer_credit_sequence on transfer (merchant, credit_card, credit_sequence)
  where credit_card is not null;
-- A refund states the total returned so far: two refunds can never claim the same step.
create unique index transfer_refunded on transfer (merchant, origin, refunded)
  where kind = 'refund';

create table hold (
  merchant uuid not null,
  id uuid not null,
  card uuid not null,
  currency text not null,
  amount bigint not null check (amount >= 1),
  captured bigint not null default 0,
  state hold_state not null default 'open',
  redemption uuid,
  actor text not null,
  reference text,
  location text,
  metadata jsonb,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  resolved_at timestamptz,
  primary key (merchant, id),
  foreign key (merchant, card) references account (merchant, id),
  foreign key (merchant, redemption) references transfer (merchant, id) deferrable initially deferred,
  constraint hold_captured check (captured between 0 and amount),
  constraint hold_resolved check ((state = 'open') = (resolved_at is null)
    and (state = 'captured') = (redemption is not null)
    and (state = 'captured') = (captured > 0))
);
create index hold_open on hold (merchant, card, expires_at) where state = 'open';
create index hold_due on hold (merchant, expires_at) where state = 'open';
create index hold_by_redemption on hold (merchant, redemption) where redemption is not null;

-- A key names one operation with its body; written with the money, in its transaction.
create table idempotency (
  merchant uuid not null,
  key text not null check (length(key) between 1 and 255),
  operation text not null,
  fingerprint bytea not null,
  resource_id uuid not null, -- what the operation made
  answer jsonb,              -- what that row itself does not hold of the first answer
  created_at timestamptz not null,
  primary key (merchant, key)
);

-- What happened, in the transaction of its cause.
create table event (
  merchant uuid not null,
  id uuid not null,
  type text not null,
  card uuid,
  resource_id uuid not null,
  sequence bigint not null, -- gapless for each card
  actor text,
  data jsonb,               -- what the row itself does not hold
  created_at timestamptz not null,
  primary key (merchant, id)
);

-- Append-only by privilege (see grants.sql) and, for roles with more privileges, by trigger.
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only: % refused', tg_table_name, tg_op
    using errcode = 'insufficient_privilege',
      hint = 'Correct money by a new transfer, such as an adjustment.';
end $$;
create trigger transfer_is_append_only before update or delete or truncate on transfer
  for each statement execute function refuse_change();
create trigger event_is_append_only before update or truncate on event
  for each statement execute function refuse_change();
create trigger account_is_kept before delete or truncate on account
  for each statement execute function refuse_change();
create trigger hold_is_kept before delete or truncate on hold
  for each statement execute function refuse_change();

-- Counts the calls that move money for a caller that waits: a long job that sees the count change
-- does less at a time. A sequence: no call waits for another to count.
create sequence posting_counter;

-- Quotas: what one merchant may have, so that the others find room.
-- Where a merchant's limit is another than the usual one (see ledger/quotas.sql).
create table quota (
  merchant uuid not null references merchant (id),
  name text not null,
  most bigint not null check (most >= 0),
  primary key (merchant, name)
);

-- Cards that were asked for, by day (UTC). Shards, so that calls do not wait for each other.
create table quota_use (
  merchant uuid not null,
  day date not null,
  shard smallint not null,
  cards bigint not null,
  primary key (merchant, day, shard)
) with (fillfactor = 50);
create index quota_use_by_day on quota_use (day);
