-- Limits of a program that each card keeps from its issue, and the job that made a card.
-- accepts constraint program_max_balance on florin.program: running releases leave the column empty
-- accepts constraint program_max_per_payment on florin.program: running releases leave the column empty

alter table program add column max_balance bigint
  constraint program_max_balance check (max_balance between 1 and 1000000000000);
alter table program add column max_per_payment bigint
  constraint program_max_per_payment check (max_per_payment between 1 and 1000000000000);
alter table account add column max_balance bigint;
alter table account add column max_per_payment bigint;
alter table card add column job uuid;
alter table program add column imported_codes boolean not null default false; -- never false again
