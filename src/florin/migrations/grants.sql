-- What the application's role may do: read, write what is not money, and call the ledger.
-- {role} is the role of DATABASE_URL. Only GRANT statements: they belong to the set of functions of a
-- release, are applied together with those of all other sets by every `florin migrate`, and what no set
-- grants is revoked then. Function names mean those of the set.
grant select on all tables in schema florin to {role};
grant execute on function florin.metadata_token to {role};
grant insert on merchant, branding, member, api_key, program, session, email_token, failed_attempt, audit to {role};
grant update (name, second_factor_roles, timezone, clock_offset, clock_moving) on merchant to {role};
grant update (slug, card_color, line_color, logo, logo_kind, logo_tag, changed_at) on branding to {role};
grant update (role, password_hash, email_verified_at, totp_sealed, totp_confirmed_at, totp_step,
  recovery_hashes, notices) on member to {role};
grant update (current_hash, previous_hash, nonce, client_hash, second_factor, proved_at, rotated_at,
  revoked_at, reused) on session to {role};
grant update (sealed, delivered_at, used_at) on email_token to {role};
grant insert, update on delivery to {role};
grant insert, update, delete on suppression to {role};
grant insert on card_link to {role};
grant update (reference) on card to {role};
grant update (sealed_code, revoked_at) on card_link to {role};
grant update on failed_attempt to {role};
grant delete on member, session, email_token, failed_attempt to {role};
grant update (name, scopes, revoked_at, hash) on api_key to {role};
grant update (name, min_amount, max_amount, denominations, expires_after_months, metadata,
  reminder_days, max_balance, max_per_payment, imported_codes, for_sale, places, cash_out_limit,
  code_in_mail, vat_country, vat_rate)
  on program to {role};
grant update (at) on heartbeat to {role};
grant update (due_at, checked_at, seconds, totals) on ledger_check to {role};
grant execute on function clock, new_id, oldest_money, post, issue, rotate_code, reset_pin, change_card, once, once_each
  to {role};
grant insert, update, delete on queue_job, outbox, queue_flow, queue_worker to {role};
grant insert, delete on queue_tick to {role};
grant insert on queue_audit to {role};
grant insert, update on queue to {role};
grant insert, delete on process to {role};
grant update (seen_at) on process to {role};
grant usage on sequence queue_fence to {role};
grant select on sequence posting_counter to {role};
grant execute on function queue_claim, queue_places, queue_allowance, queue_heartbeat, queue_hold, queue_hold_all, queue_complete,
  queue_fail, queue_give_back, queue_continue, queue_reap, queue_begin, queue_put, queue_slot, queue_relay,
  queue_tick, queue_count, queue_prune, queue_facts to {role};
grant execute on function seal_audit to {role};
grant execute on function quotas, quota_limit, cards_left, take_job_quota, exceeded_quota to {role};
grant insert, update, delete on quota to {role};
grant delete on quota_use to {role};
grant execute on function analyze_grown, expire_due, merchants_due, cards_with_holds_due, erase_codes, forget_keys,
  finish_job, erase_person, notify_staff to {role};
grant insert, update on job to {role};
grant insert, update, delete on webhook_endpoint, webhook_delivery to {role};
grant usage on sequence webhook_delivery_position to {role};
grant execute on function webhook_fan_out, webhook_due_lanes, webhook_due to {role};
grant insert, delete on job_code_export, job_part to {role};
grant execute on function post_gateway, record_events, pay_out, undo_payout to {role};
grant insert on commission_rate, payout_batch, payout to {role};
grant update (payouts, amount) on payout_batch to {role};
grant update (state, reason, resolved_at) on payout to {role};
grant insert on orders, order_item, order_card, payment, payment_refund, dispute,
  gateway_event, gateway, test_payment, test_refund, test_dispute to {role};
grant update (state, account, sealed, previous_until, off_at) on gateway to {role};
grant insert, update on order_number to {role};
grant update (state, buyer_email, buyer_name, paid_by, review, paid_at, closed_at, withdrawn_at) on orders
  to {role};
grant update (clawed) on order_card to {role};
grant update (state, reference, url, capture_ref, received, received_currency, refunded, fee, fee_currency, surplus, failure,
  expires_at, looked_at, look_due, paid_at) on payment to {role};
grant update (state, gateway_ref, failure, attempts, due_at, resolved_at) on payment_refund to {role};
grant update (kind, state, amount, withdrawn, clawed, loss, cards, due_at, resolved_at) on dispute to {role};
grant update (token_hash, outcome, decided_at, closed) on test_payment to {role};
grant update (state) on test_dispute to {role};
grant update (seen), delete on gateway_event to {role};
