-- Settlement: an operator whose own gateways collect for many merchants pays them out.
alter type account_kind add value if not exists 'commissions' after 'cash_out';  -- what the operator keeps of sales
alter type transfer_kind add value if not exists 'commission' after 'cash_out';

-- Which payout settled a change of gateway_clearing.
alter table gateway_posting add column if not exists payout uuid;

-- What an operator keeps of each sale, from its date on. It never changes for payments of before.
create table commission_rate (
  merchant uuid not null references merchant (id),
  id uuid not null,
  basis_points integer not null check (basis_points between 0 and 10000), -- of 1/10000
  valid_from timestamptz not null,
  operator uuid not null,
  actor text not null,
  created_at timestamptz not null,
  primary key (merchant, id)
);

-- The row that payouts of one merchant lock.
create table settlement (
  merchant uuid not null references merchant (id),
  currency text not null,
  payouts bigint not null,
  primary key (merchant, currency)
);

-- The merchant is the operator.
create table payout_batch (
  merchant uuid not null references merchant (id),
  id uuid not null,
  currency text not null,
  until timestamptz not null,
  minimum bigint not null check (minimum >= 1),
  payouts integer not null default 0,
  amount bigint not null default 0,
  actor text not null,
  created_at timestamptz not null,
  primary key (merchant, id)
);

create table payout (
  merchant uuid not null references merchant (id),
  id uuid not null,
  operator uuid not null,
  batch uuid not null,
  state text not null default 'made' check (state in ('made', 'paid', 'failed')),
  currency text not null,
  amount bigint not null check (amount >= 1),
  commission bigint not null check (commission >= 0),
  payments integer not null,
  reason text,
  created_at timestamptz not null,
  resolved_at timestamptz,
  primary key (merchant, id)
);
