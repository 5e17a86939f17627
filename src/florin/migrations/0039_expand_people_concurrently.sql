-- What is stored of one person, by address or number, for its export and its erasure.
create index concurrently if not exists delivery_by_address
  on delivery (merchant, lower(address)) where address is not null;
create index concurrently if not exists orders_by_buyer
  on orders (merchant, lower(buyer_email)) where buyer_email is not null;
create index concurrently if not exists order_item_by_recipient
  on order_item (merchant, lower(recipient_email)) where recipient_email is not null;
create index concurrently if not exists order_item_by_phone
  on order_item (merchant, deliver_phone) where deliver_phone is not null;
