-- The clock of a test merchant is moved by a job of its own kind: it has an `advance_to`, the instant to
-- which it moves the clock. Its row says `bulk`, like the row of every job without a file.
alter table job add column advance_to timestamptz;
