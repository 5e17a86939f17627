-- Orders, payments at gateways, refunds, disputes, and what a gateway moved.

alter type account_kind add value if not exists 'gateway_fees' after 'adjustments';  -- what gateways keep for their work
alter type account_kind add value if not exists 'bank' after 'gateway_fees';  -- what gateways paid out
alter type account_kind add value if not exists 'refunds_pending' after 'bank';  -- owed to buyers, not yet returned
alter type account_kind add value if not exists 'refund_loss' after 'refunds_pending';  -- returned to buyers though it was spent
alter type account_kind add value if not exists 'disputes' after 'refund_loss';  -- withdrawn by a dispute that is open
alter type account_kind add value if not exists 'chargeback_loss' after 'disputes';  -- lost in disputes
alter type account_kind add value if not exists 'cash_out' after 'chargeback_loss';  -- paid to holders in cash

alter type transfer_kind add value if not exists 'receipt' after 'reinstate';  -- money received for which no card is issued
alter type transfer_kind add value if not exists 'clawback' after 'receipt';
alter type transfer_kind add value if not exists 'giveback' after 'clawback';
alter type transfer_kind add value if not exists 'gateway_refund' after 'giveback';
alter type transfer_kind add value if not exists 'gateway_fee' after 'gateway_refund';
alter type transfer_kind add value if not exists 'payout' after 'gateway_fee';
alter type transfer_kind add value if not exists 'dispute' after 'payout';
alter type transfer_kind add value if not exists 'dispute_won' after 'dispute';
alter type transfer_kind add value if not exists 'write_off' after 'dispute_won';
alter type transfer_kind add value if not exists 'cash_out' after 'write_off';

create table order_number (
  merchant uuid primary key references merchant (id),
  last bigint not null
);

create table orders (
  merchant uuid not null references merchant (id),
  id uuid not null,
  number bigint not null,
  token_hash bytea not null,   -- SHA-256 of the token of the order's page
  token_sealed bytea not null, -- AES-256-GCM, bound to merchant and order
  state text not null default 'placed'
    check (state in ('placed', 'paid', 'fulfilled', 'cancelled', 'lapsed', 'review')),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  amount bigint not null check (amount between 1 and 1000000000000),
  buyer_email text,            -- null once it was erased
  buyer_name text,
  locale text,
  gateway text not null,       -- as requested; later attempts use it, too
  return_url text,             -- null: the order's own page
  base_url text not null,      -- where buyers reach Florin
  paid_by uuid,                -- the one payment that paid it
  review text,                 -- why a member has to decide
  actor text not null,
  metadata jsonb not null default '{}',
  placed_at timestamptz not null,
  paid_at timestamptz,
  closed_at timestamptz,       -- cancelled or lapsed
  withdrawn_at timestamptz,
  primary key (merchant, id),
  unique (merchant, number),
  constraint orders_paid check ((state in ('paid', 'fulfilled')) = (paid_by is not null))
);
create index orders_placed on orders (placed_at) where state = 'placed';
create index orders_by_token on orders (token_hash);  -- its bearer names no merchant

create table order_item (
  merchant uuid not null,
  id uuid not null,
  orders uuid not null,
  position smallint not null,
  program uuid not null,
  card uuid,                   -- the card that is topped up; null: new cards
  amount bigint not null check (amount >= 1), -- of each card
  count smallint not null check (count between 1 and 100),
  recipient_name text,
  recipient_email text,
  message text,
  primary key (merchant, id),
  unique (merchant, orders, position),
  foreign key (merchant, orders) references orders (merchant, id)
);

-- Exactly once: the key is the claim that the transaction which issues a card makes. `clawed`: taken
-- back from it for refunds and lost disputes, at most what the order put on it.
create table order_card (
  merchant uuid not null,
  item uuid not null,
  position smallint not null,
  card uuid not null,
  amount bigint not null check (amount >= 1),
  clawed bigint not null default 0,
  primary key (merchant, item, position),
  foreign key (merchant, item) references order_item (merchant, id),
  constraint order_card_clawed check (clawed between 0 and amount)
);
create index order_card_by_card on order_card (merchant, card);

-- One attempt to pay an order. The row exists before the gateway is asked; its id is the key there.
create table payment (
  merchant uuid not null,
  id uuid not null,
  orders uuid not null,
  attempt smallint not null,
  provider text not null,      -- test
  gateway uuid not null,       -- all zeros: the installation's account
  state text not null default 'created'
    check (state in ('created', 'open', 'processing', 'paid', 'failed', 'expired')),
  currency text not null,
  amount bigint not null check (amount >= 1),
  reference text,              -- the gateway's session or order
  url text,                    -- where the buyer pays
  capture_ref text,            -- what the money has as its name at the gateway
  received bigint not null default 0, -- what the gateway says was paid, in minor units
  received_currency text,
  refunded bigint not null default 0, -- refunds that are not given up; never more than received
  fee bigint not null default 0,
  surplus boolean not null default false, -- paid, but another payment had paid the order
  failure text,
  expires_at timestamptz not null,
  looked_at timestamptz not null default '-infinity',
  look_due timestamptz,        -- when it is looked at again without being asked; null: never
  created_at timestamptz not null,
  paid_at timestamptz,
  primary key (merchant, id),
  unique (merchant, orders, attempt),
  unique (merchant, gateway, reference),
  unique (merchant, gateway, capture_ref),
  foreign key (merchant, orders) references orders (merchant, id),
  constraint payment_received check ((state = 'paid') = (received > 0)),
  constraint payment_refunded check (refunded between 0 and received)
);
create index payment_due on payment (look_due) where look_due is not null;

-- `clawed` was taken from the cards before the gateway was asked, `loss` is borne by the merchant.
create table payment_refund (
  merchant uuid not null,
  id uuid not null,
  payment uuid not null,
  state text not null check (state in ('asked', 'done', 'failed')),
  amount bigint not null check (amount >= 1),
  currency text not null,
  clawed bigint not null,
  loss bigint not null,
  cards jsonb not null default '[]', -- what was taken from which card
  gateway_ref text,
  reason text,
  failure text,
  actor text not null,
  adopted boolean not null default false, -- made at the gateway, not by Florin
  attempts smallint not null default 0,
  due_at timestamptz,                     -- when the gateway is asked (again)
  created_at timestamptz not null,
  resolved_at timestamptz,
  primary key (merchant, id),
  unique (merchant, payment, gateway_ref),
  foreign key (merchant, payment) references payment (merchant, id),
  constraint payment_refund_covered check (clawed >= 0 and loss >= 0 and clawed + loss <= amount)
);
create index payment_refund_due on payment_refund (due_at) where due_at is not null;

create table dispute (
  merchant uuid not null,
  id uuid not null,
  payment uuid not null,
  gateway_ref text not null,
  kind text not null check (kind in ('inquiry', 'chargeback', 'warning')),
  state text not null check (state in ('open', 'won', 'lost', 'closed')),
  amount bigint not null check (amount >= 1),
  currency text not null,
  withdrawn bigint not null default 0, -- what the gateway holds back because of it
  clawed bigint not null default 0,
  loss bigint not null default 0,
  cards jsonb not null default '[]',   -- the cards that it blocked
  due_at timestamptz,
  created_at timestamptz not null,
  resolved_at timestamptz,
  primary key (merchant, id),
  unique (merchant, payment, gateway_ref),
  foreign key (merchant, payment) references payment (merchant, id)
);

-- Each change of gateway_clearing with its payment: what explains the account to the unit.
create table gateway_posting (
  merchant uuid not null,
  transfer uuid not null,
  payment uuid,
  kind text not null,
  currency text not null,
  amount bigint not null, -- positive: into the account
  created_at timestamptz not null,
  primary key (merchant, transfer)
);
create index gateway_posting_by_payment on gateway_posting (merchant, payment);
create index gateway_posting_by_age on gateway_posting (merchant, created_at);

-- The gateway `test`: what a gateway of its own would know of its payments.
create table test_payment (
  merchant uuid not null,
  payment uuid not null,
  token_hash bytea not null,
  outcome text check (outcome in ('paid', 'declined', 'delayed', 'expired')),
  decided_at timestamptz,
  closed boolean not null default false, -- the seller does not want to be paid any more
  return_url text not null,
  primary key (merchant, payment),
  foreign key (merchant, payment) references payment (merchant, id)
);
create index test_payment_by_token on test_payment (token_hash);
create table test_refund (
  merchant uuid not null,
  id uuid not null, -- the refund's own id at Florin, or a new one for a refund in the dashboard
  payment uuid not null,
  amount bigint not null check (amount >= 1),
  ours boolean not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id),
  foreign key (merchant, payment) references test_payment (merchant, payment)
);
create index test_refund_by_payment on test_refund (merchant, payment);
create table test_dispute (
  merchant uuid not null,
  id uuid not null,
  payment uuid not null,
  state text not null default 'open' check (state in ('open', 'won', 'lost')),
  amount bigint not null check (amount >= 1),
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id),
  foreign key (merchant, payment) references test_payment (merchant, payment)
);
create index test_dispute_by_payment on test_dispute (merchant, payment);
