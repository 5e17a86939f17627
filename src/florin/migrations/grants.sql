-- What the application's role may do: read, write what is not money, and call the ledger.
-- {role} is the role of DATABASE_URL. Applied by every `florin migrate`, after the migrations.
revoke all on schema florin from public;
grant usage on schema florin to {role};
revoke all on all tables in schema florin from {role};
revoke all on all functions in schema florin from public, {role};
grant select on all tables in schema florin to {role};
grant insert on merchant, member, api_key, program to {role};
grant update (role, password_hash) on member to {role};
grant delete on member to {role};
grant update (name, scopes, revoked_at) on api_key to {role};
grant update (name, min_amount, max_amount, denominations, expires_after_months, metadata)
  on program to {role};
grant execute on function clock, new_id, oldest_money, post, issue, rotate_code, once to {role};
