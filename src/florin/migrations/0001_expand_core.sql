-- Merchants, programs, callers; the ledger: accounts of cards, transfers, holds, keys, events.
-- Every primary, unique and foreign key begins with the merchant, so that the schema shards by merchant.

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
  created_at timestamptz not null default clock_timestamp()
);

create table member (
  merchant uuid not null references merchant (id),
  id uuid not null,
  email text not null,
  password_hash text not null,
  role text not null check (role in ('owner', 'manager', 'cashier', 'viewer')),
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id),
  unique (merchant, email)
);
-- Signing in names no merchant. An address belongs to one member: see merchants/register.py.
create index member_by_email on member (email);

create table api_key (
  merchant uuid not null references merchant (id),
  id uuid not null,
  name text not null,
  scopes text[] not null,
  hash bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  revoked_at timestamptz,
  primary key (merchant, id)
);
create index api_key_by_hash on api_key (hash);

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
  primary key (merchant, id),
  unique (merchant, code_hash),
  constraint account_balance check (balance between 0 and 9000000000000000),
  constraint account_held check (held between 0 and balance),
  constraint account_pending check (state <> 'pending' or balance = 0),
  constraint account_closed check (state <> 'closed' or (balance = 0 and held = 0))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index account_by_program on account (merchant, program, id);

-- What is known of a card beside its money.
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

-- One row a movement between two accounts. The side that is a card carries that card's next
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
create index hold_by_card on hold (merchant, card, id);
create index hold_open on hold (merchant, card, expires_at) where state = 'open';
create index hold_by_redemption on hold (merchant, redemption) where redemption is not null;

-- A key names one operation with its body; written with the money, in its transaction.
create table idempotency (
  merchant uuid not null,
  key text not null check (length(key) between 1 and 255),
  operation text not null,
  fingerprint bytea not null,
  noun uuid not null,       -- what the operation made
  answer jsonb,             -- what the noun itself does not remember of the first answer
  created_at timestamptz not null,
  primary key (merchant, key)
);

-- What happened, in the transaction of its cause.
create table event (
  merchant uuid not null,
  id uuid not null,
  type text not null,
  card uuid,
  noun uuid not null,
  sequence bigint not null, -- gapless for each card
  data jsonb,               -- what the noun itself does not remember
  created_at timestamptz not null,
  primary key (merchant, id)
);

-- Append-only by privilege (see grants.sql) and, for whoever has more of it, by trigger.
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
