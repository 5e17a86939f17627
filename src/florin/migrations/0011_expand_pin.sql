-- PIN: cards of some programs are spent by code with a PIN beside it. Both are null on a card that has
-- none. They lie on the row that is locked when a card's money moves, so that attempts are counted
-- exactly.
alter table program add column pin boolean not null default false;
alter table account
  add column pin_hash bytea,    -- SHA-256 of the card's id and the PIN's HMAC, keyed outside the database
  add column pin_failed bytea;  -- 16 bytes for each wrong try since the last right one
