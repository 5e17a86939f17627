-- Batches: bulk jobs of cards that are activated later, jobs that change the cards of another job (their
-- kind is that job's, `change` says what they do), and jobs that are stopped.

alter table job add column activate boolean not null default true;
alter table job add column cancelled integer not null default 0; -- not made any more; `done` includes them
alter table job add column change text;  -- activate, block, extend or close
alter table job add column cards_of uuid; -- the job whose cards are changed
alter table job add column last_at timestamptz; -- with last_card: of the last card that was changed
alter table job add column last_card uuid;
alter table job add column until timestamptz; -- of an extension
alter table job add column reason text;
alter table job add column file jsonb; -- of an import: how it was read
