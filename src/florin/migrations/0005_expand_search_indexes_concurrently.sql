-- The orders of the lists. What each costs is one more entry to write; docs/api/lists.md and
-- tests/ledger/test_list_plans.py have the query that each is for.

-- Cards: written when one is issued or changes its state, never when its money moves.
create index concurrently if not exists account_by_time on account (merchant, issued_at, id);
create index concurrently if not exists account_by_state on account (merchant, state, issued_at, id);
create index concurrently if not exists account_by_program_time
  on account (merchant, program, issued_at, id);
create index concurrently if not exists card_by_email on card (merchant, lower(recipient_email), id)
  where recipient_email is not null;
create index concurrently if not exists card_by_name on card (merchant, lower(recipient_name), id)
  where recipient_name is not null;

-- Transfers: one more entry a movement, at the end of its kind, so in pages that are in memory; the
-- lists of redemptions, refunds, loads, transfers, adjustments and entries all read it. Reference
-- and location cost those who give them.
create index concurrently if not exists transfer_by_kind on transfer (merchant, kind, created_at, id);
create index concurrently if not exists transfer_by_reference
  on transfer (merchant, reference, created_at, id) where reference is not null;
create index concurrently if not exists transfer_by_location
  on transfer (merchant, location, created_at, id) where location is not null;

create index concurrently if not exists hold_by_time on hold (merchant, created_at, id);
create index concurrently if not exists hold_by_state on hold (merchant, state, created_at, id);
create index concurrently if not exists hold_by_card_time on hold (merchant, card, created_at, id);
create index concurrently if not exists hold_by_reference
  on hold (merchant, reference, created_at, id) where reference is not null;
create index concurrently if not exists hold_by_location
  on hold (merchant, location, created_at, id) where location is not null;

-- Events: one by type, which a list of all types merges, and one by card, which also ensures that
-- the events of a card have no number twice.
create index concurrently if not exists event_by_type on event (merchant, type, created_at, id);
create unique index concurrently if not exists event_by_card on event (merchant, card, sequence)
  where card is not null;
