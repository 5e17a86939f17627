-- Addresses of a merchant's recipients to which no mail is sent any more: the mail bounced, or its
-- recipient complained. Written by the reports of the mail server.
create table suppression (
  merchant uuid not null,
  id uuid not null,
  address text not null check (length(address) between 3 and 254),
  reason text not null check (reason in ('bounced', 'complained')),
  delivery uuid not null,            -- whose report it was
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant, id),
  unique (merchant, address)
);
