-- What a card keeps of the day it was issued, and a block that outlives the end of the card.
alter table account
  add column blocked boolean not null default false, -- also while the card is expired
  add column expires_after_months integer;           -- of its program at issue; null: never expires
update account a set blocked = a.state = 'blocked', expires_after_months = p.expires_after_months
from program p where p.merchant = a.merchant and p.id = a.program;
