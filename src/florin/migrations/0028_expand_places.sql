-- Where cards of a program are sold, which decides the law that they come under, and up to which balance a
-- card is paid out in cash beyond what the law says.
alter table program
  add column if not exists places text[],          -- null: the merchant's country
  add column if not exists cash_out_limit bigint;  -- in minor units
