-- Cards by their recipient, in the order of the list: a page is read from the index however many
-- cards one person has. Releases before this one read card_by_email and card_by_name.
create index concurrently if not exists card_by_email_time
  on card (merchant, lower(recipient_email), issued_at, id) where recipient_email is not null;
create index concurrently if not exists card_by_name_time
  on card (merchant, lower(recipient_name), issued_at, id) where recipient_name is not null;
