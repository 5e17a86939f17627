-- The only clock: database time, plus the offset of a test merchant. The clocks of hosts are not used.
create function clock(p_merchant uuid) returns timestamptz
language sql volatile parallel safe set search_path from current as $$
  select clock_timestamp() + coalesce(
    (select m.clock_offset from florin.merchant m where m.id = p_merchant), interval '0')
$$;

-- A time-ordered id (RFC 9562, version 7) for rows that the database itself creates.
create function new_id() returns uuid
language sql volatile parallel safe set search_path from current as $$
  select encode(set_byte(
    overlay(uuid_send(gen_random_uuid()) placing
      substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
      from 1 for 6),
    6, 112 + get_byte(uuid_send(gen_random_uuid()), 6) % 16), 'hex')::uuid
$$;

-- Every transaction that dates an entry or an event holds a shared advisory lock whose number is the
-- millisecond at which it began, so that every session can read when the oldest running one began.
-- Shared locks never wait for each other. The lock is acquired before anything is dated, so no entry
-- and no event can get a date before the instant in the lock.
create function begin_money() returns void
language plpgsql volatile set search_path from current as $$
begin
  -- Truncated, never rounded: a number after the actual start would let balances of an instant in
  -- between be answered too early.
  perform pg_advisory_xact_lock_shared(
    x'f10c'::bigint << 47 | trunc(extract(epoch from clock_timestamp()) * 1000)::bigint);
end $$;

-- The instant at which the oldest running transaction of the ledger began; null when none runs.
create function oldest_money() returns timestamptz
language sql volatile set search_path from current as $$
  select to_timestamp(min((l.classid::bigint << 32 | l.objid::bigint) & (1::bigint << 47) - 1) / 1000.0)
  from pg_locks l
  where l.locktype = 'advisory' and l.objsubid = 1
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and (l.classid::bigint << 32 | l.objid::bigint) >> 47 = x'f10c'::bigint
$$;

-- A card expires at the end of a day in its merchant's time zone: the day on which its months are over.
create function expiry(p_from timestamptz, p_months integer, p_zone text)
returns timestamptz language sql stable parallel safe as $$
  select (date_trunc('day', p_from at time zone p_zone + make_interval(months => p_months))
    + interval '1 day') at time zone p_zone
$$;

-- The months are the program's at the time of issue: a later change applies to later cards.
create function expiry_of(p_merchant uuid, p_card uuid, p_from timestamptz)
returns timestamptz language sql stable set search_path from current as $$
  select expiry(p_from, a.expires_after_months, m.timezone)
  from account a join merchant m on m.id = a.merchant
  where a.merchant = p_merchant and a.id = p_card
$$;
