-- Reminders: how many days before a card expires its recipient is reminded.
-- accepts constraint program_reminder_days on florin.program: running releases do not write its column
alter table program add column reminder_days smallint[] not null default '{30,7}'
  constraint program_reminder_days check (
    cardinality(reminder_days) <= 5 and 1 <= all (reminder_days) and 365 >= all (reminder_days));
