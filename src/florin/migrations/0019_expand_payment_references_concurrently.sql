-- Events of the installation's own account at a gateway name no merchant.
create index concurrently if not exists payment_by_reference on payment (reference)
  where reference is not null;
create index concurrently if not exists payment_by_capture on payment (capture_ref)
  where capture_ref is not null;
