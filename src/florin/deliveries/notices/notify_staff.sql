-- Make a mail for each member who subscribed to p_about; at most one for each cause. The sweep of
-- deliveries sends them within a minute. p_data: what the mail says, which names no person.
create function notify_staff(p_merchant uuid, p_about text, p_cause text, p_data jsonb) returns void
language sql volatile set search_path from current as $$
  insert into delivery (merchant, id, cause, kind, channel, member, address, locale, data, due_at, state)
  select p_merchant, new_id(), p_about || ':' || p_cause || ':' || b.id, 'notice', 'email', b.id, b.email,
    case when m.country in ('AT', 'CH', 'DE', 'LI') then 'de-' || m.country else 'en' end,
    p_data || jsonb_build_object('about', p_about), clock(p_merchant), 'waiting'
  from member b join merchant m on m.id = b.merchant
  where b.merchant = p_merchant and p_about = any (b.notices) and b.password_hash is not null
  on conflict (merchant, cause) do nothing;
$$;
