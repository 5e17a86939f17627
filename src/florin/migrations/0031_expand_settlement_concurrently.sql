create index concurrently if not exists gateway_posting_by_payout on gateway_posting (merchant, payout)
  where payout is not null;
create index concurrently if not exists payout_by_operator on payout (operator, batch);
