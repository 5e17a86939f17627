-- While a table is nearly empty all its indexes cost the same, and of those PostgreSQL takes the one
-- that was made last. What a session plans then it keeps until the table is analysed: the checks of
-- foreign keys read all cards of a merchant, a minute long. So the key is made anew, as the last.
reindex index concurrently account_pkey;
