-- When the member of a sign-in last proved who it is, and who made an API key. Both are null for what
-- was there before: such a sign-in proves itself again, and such a key is of no known maker.
alter table session add column proved_at timestamptz;
alter table api_key add column made_by text; -- usr_…, key_…, or florin
