-- For the job that seals new records of all merchants.
create index concurrently if not exists audit_by_time on audit (created_at);
