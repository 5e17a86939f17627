-- The location of the key that asked for a job: the entries of its cards say it.
alter table job add column location text check (length(location) between 1 and 255);
