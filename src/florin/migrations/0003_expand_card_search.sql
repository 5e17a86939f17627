-- What lists are narrowed by, where no column says it yet.

-- When a card was issued, beside its state and program, so that one index narrows and orders.
alter table account add column issued_at timestamptz;
update account a set issued_at = c.issued_at from card c
where c.merchant = a.merchant and c.id = a.id;
alter table account alter column issued_at set default clock_timestamp(),
  alter column issued_at set not null;

-- Cards by a pair of their metadata: one row a pair, in the order of the list. The pair is hashed,
-- so that an index entry has one size however long the value is. Cards without metadata cost nothing.
create table card_metadata (
  merchant uuid not null,
  token bytea not null,
  issued_at timestamptz not null,
  card uuid not null,
  primary key (merchant, token, issued_at, card)
);

create function metadata_token(p_key text, p_value text) returns bytea
language sql immutable strict parallel safe as $$
  select substring(sha256(convert_to(jsonb_build_array(p_key, p_value)::text, 'UTF8')) for 16)
$$;

create function remember_metadata() returns trigger
language plpgsql set search_path = florin, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    delete from card_metadata s
    using jsonb_each_text(old.metadata) p
    where s.merchant = old.merchant and s.token = metadata_token(p.key, p.value)
      and s.issued_at = old.issued_at and s.card = old.id;
  end if;
  insert into card_metadata (merchant, token, issued_at, card)
  select new.merchant, metadata_token(p.key, p.value), new.issued_at, new.id
  from jsonb_each_text(new.metadata) p;
  return null;
end $$;
create trigger card_metadata_is_found after insert on card
  for each row when (new.metadata <> '{}') execute function remember_metadata();
create trigger card_metadata_is_kept after update of metadata on card
  for each row when (new.metadata is distinct from old.metadata)
  execute function remember_metadata();

insert into card_metadata (merchant, token, issued_at, card)
select c.merchant, metadata_token(p.key, p.value), c.issued_at, c.id
from card c, jsonb_each_text(c.metadata) p;
