-- The reports of a mail server name a delivery by its Message-ID, which has no merchant.
create index concurrently if not exists delivery_by_id on delivery (id);
