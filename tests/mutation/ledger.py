"""Ledger: mutants that remove the guards of the ledger, one at a time. A test must fail for each.

A mutant replaces one text, found exactly once in its file, and names the tests that should fail.
A mutant whose text is not found any more is as bad as one that no test notices.
"""

from tests.mutation.accounts import ACCOUNTS
from tests.mutation.cards import CARDS as CARD_MUTATIONS
from tests.mutation.clusters import CLUSTERS
from tests.mutation.deliveries import DELIVERIES
from tests.mutation.deploys import DEPLOYS
from tests.mutation.disputes import DISPUTE_MUTATIONS
from tests.mutation.events import EVENTS
from tests.mutation.fleet import FLEET
from tests.mutation.identity import IDENTITY
from tests.mutation.jobs import JOBS
from tests.mutation.law import LAW_MUTATIONS
from tests.mutation.mutation import Mutation
from tests.mutation.mutation import without as _
from tests.mutation.network import NETWORK
from tests.mutation.observability import OBSERVABILITY
from tests.mutation.operations import OPERATIONS
from tests.mutation.operator import OPERATOR
from tests.mutation.pages import PAGES
from tests.mutation.payments import PAYMENTS
from tests.mutation.queue import QUEUE
from tests.mutation.rate_limits import LIMITS
from tests.mutation.releases import RELEASES
from tests.mutation.request_costs import REQUEST_COSTS
from tests.mutation.requests import REQUESTS
from tests.mutation.webhooks import WEBHOOKS

POST = "src/florin/ledger/post.sql"
ISSUE = "src/florin/ledger/issue.sql"
CLAIM = "src/florin/ledger/idempotency_keys.sql"
LANE = "src/florin/ledger/batching.py"
COALESCE = "src/florin/kit/batcher.py"
TABLES = "src/florin/migrations/0001_expand_ledger.sql"

MACHINE = "tests/ledger/test_machine.py"
MANY = "tests/ledger/test_concurrency.py"
LANES = "tests/ledger/test_batching.py"
CONSTRAINTS = "tests/ledger/test_database_constraints.py"
PIN = "tests/cards/test_pins.py"
CARDS = "tests/cards/api/test_cards.py"
FAULTS = "tests/journeys/faults"
TOGETHER = "tests/kit/test_batcher.py"


_LOCKS = (
    _("the lock of the card is dropped", POST,
      "order by w.r for no key update of a\n    ) l;", "order by w.r\n    ) l;",
      f"{MANY}::test_random_operations_conserve_money"),
    _("cards are locked in the order of each call", POST,
      "order by s.c is null, s.m, s.c) as r", "order by s.c is null,"
      " md5(s.c::text || pg_backend_pid())) as r",
      f"{MANY}::test_random_operations_conserve_money"),
    _("keys are claimed in the order of each call", CLAIM,
      "select distinct on (i.m, i.key) i.m, i.key, i.operation, i.fingerprint, i.id,"
      " clock_timestamp()\n    from unnest(p_merchant, p_key, p_operation, p_fingerprint, p_id,"
      " p_simulate)\n      with ordinality as i (m, key, operation, fingerprint, id, simulate, n)\n"
      "    where i.key is not null and not i.simulate\n    order by i.m, i.key, i.n\n    on",
      "select w.m, w.key, w.operation, w.fingerprint, w.id, clock_timestamp() from (\n"
      "    select distinct on (i.m, i.key) i.*\n"
      "    from unnest(p_merchant, p_key, p_operation, p_fingerprint, p_id, p_simulate)\n"
      "      with ordinality as i (m, key, operation, fingerprint, id, simulate, n)\n"
      "    where i.key is not null and not i.simulate\n    order by i.m, i.key, i.n) w\n"
      "    order by md5(w.key || pg_backend_pid())\n    on",
      f"{MANY}::test_calls_that_share_keys_wait_in_one_order"),
    _("a locked card delays requests for other cards", LANE,
      "LOCK_TIMEOUT_MS = 50\n", "LOCK_TIMEOUT_MS = 60_000\n",
      f"{MANY}::test_a_card_locked_elsewhere_does_not_delay_other_items"),
    _("a balance that may still change is reported as settled", POST,
      "  perform begin_money();\n", "",
      f"{MANY}::test_a_balance_at_an_instant_never_changes"),
    _("a card that is being issued is reported as settled", ISSUE,
      "  perform begin_money();\n  if p_key[1]", "  if p_key[1]",
      f"{MANY}::test_a_balance_waits_for_a_card_that_is_being_issued"),
    _("a balance ignores transactions that still run", "src/florin/reports/balances.py",
      "        if began is None or began > until:\n", "        if began is None or True:\n",
      f"{MANY}::test_a_balance_at_an_instant_never_changes"),
)  # fmt: skip

_MONEY = (
    _("a card may be overdrawn", POST,
      "end if;\n        if take > free or take = 0 then\n"
      "          refusal := 'insufficient_funds';",
      "end if;\n        if take = 0 then\n          refusal := 'insufficient_funds';", MACHINE),
    _("a transfer does not check the balance", POST,
      "elsif take > free then\n          refusal := 'insufficient_funds';\n"
      "        elsif not c_partial[c] and take <> c_balance[c] then\n"
      "          refusal := 'partial_redemption_not_allowed';\n        else\n"
      "          kind := 'transfer'",
      "elsif not c_partial[c] and take <> c_balance[c] then\n"
      "          refusal := 'partial_redemption_not_allowed';\n        else\n"
      "          kind := 'transfer'", MACHINE),
    _("refunds may exceed their redemption", POST,
      "elsif take > whole - back or take = 0 then", "elsif take = 0 then", MACHINE),
    _("refunds of one call are not counted together", POST,
      "      back := coalesce(r_refunded[k], back);\n", "", MACHINE),
    _("a hold does not reduce the available balance", POST,
      "happened := 'hold.created'; held_change := take;", "happened := 'hold.created';", MACHINE),
    _("an expired hold still reserves money", POST,
      "  if exists (select from unnest(c_held) h where h > 0) then", "  if false then", MACHINE),
    _("a hold is resolved twice", POST,
      "      if h_state <> 'open' then", "      if false then", MACHINE),
    _("a capture may exceed its hold", POST, "elsif take > h_amount then", "elsif false then",
      MACHINE),
    _("the rest of a partial capture stays held", POST,
      "happened := 'hold.captured'; held_change := -h_amount;",
      "happened := 'hold.captured'; held_change := -take;", MACHINE),
    _("an expired card can be spent", POST,
      "if st in ('active', 'blocked') and c_expires[c] <= now_here then\n      st := 'expired';",
      "if false then\n      st := 'expired';", MACHINE),
    _("a reinstated card forgets its block", POST,
      "select case when a.blocked then 'blocked'::card_state else 'active' end into st",
      "select 'active'::card_state into st",
      f"{CARDS}::test_a_card_stays_blocked_after_reinstatement"),
    _("a hold on a blocked card is captured once it expired", POST,
      "a.id = c_id[c] and a.blocked) then", "a.id = c_id[c] and false) then",
      f"{CARDS}::test_a_card_stays_blocked_after_reinstatement"),
    _("a program change affects cards sold earlier", "src/florin/ledger/clock.sql",
      "  select expiry(p_from, a.expires_after_months, m.timezone)\n  from account a join",
      "  select expiry(p_from, (select p.expires_after_months from program p"
      " where p.merchant = a.merchant and p.id = a.program), m.timezone)\n  from account a join",
      f"{CARDS}::test_a_change_of_the_program_applies_to_later_cards"),
    _("a card with a balance is closed", POST,
      "if c_balance[c] <> 0 or c_held[c] <> 0 then", "if false then", MACHINE),
    _("a wrong PIN is not counted", POST,
      "          c_failed[c] := coalesce(c_failed[c], '') || pin_mark;\n"
      "          c_changed[c] := true;\n",
      "          c_failed[c] := coalesce(c_failed[c], '') || pin_mark;\n", PIN),
    _("a PIN is checked although it is locked", POST,
      "      if octet_length(c_failed[c]) >= 5 * 16 then", "      if false then", PIN),
    _("any PIN is accepted", POST,
      "substr(item.code, p, 32)) = c_pin[c]) then", "substr(item.code, p, 32)) is not null) then",
      PIN),
    _("another currency is accepted for a card", POST,
      "elsif item.currency is not null and item.currency <> c_currency[c] then",
      "elsif false then", MACHINE),
)  # fmt: skip

_KEYS = (
    _("idempotency keys are shared between merchants", POST,
      "not i.simulate and q.merchant = i.m and q.key = i.key limit 1) q",
      "not i.simulate and q.key = i.key order by q.created_at, q.resource_id limit 1) q",
      f"{CONSTRAINTS}::test_a_key_is_claimed_once_for_each_merchant"),
    _("the body of a repeated key is not compared", POST,
      "q.operation = i.op and q.fingerprint = i.fingerprint as same", "true as same", MACHINE),
    _("the body of a repeated key is not compared within a call", POST,
      "when p_op[j] = item.op and p_fingerprint[j] = p_fingerprint[i] then 'replayed'",
      "when true then 'replayed'", MACHINE),
    _("a refusal uses up its key", POST,
      "  if any_key and any_refused then", "  if false then", MACHINE),
    _("a refused issue uses up its key", ISSUE,
      "where i.outcome not in ('ok', 'replayed', 'idempotency_key_reused') and i.key",
      "where false and i.key", "tests/cards/api/test_idempotency.py"),
    _("a key passed on within a call keeps its first owner", POST,
      "  if any_key and any_thief then", "  if false then", MACHINE),
    _("idempotency keys are not durable", TABLES,
      "create table idempotency (", "create unlogged table idempotency (", FAULTS),
    _("the key is recorded in a transaction of its own", "src/florin/merchants/api.py",
      "        if first == made:\n            await programs.create_program(",
      "    async with db.transaction() as tx:\n"
      "        if first == made:\n            await programs.create_program(",
      "tests/cards/api/test_idempotency.py"),
    _("no idempotency key is required", "src/florin/cards/api/responses.py",
      "required: bool = True", "required: bool = False", "tests/cards/api/test_idempotency.py"),
    _("the body is not part of the fingerprint", "src/florin/cards/transactions/operations.py",
      "fingerprint=fingerprint(op, request),", "fingerprint=fingerprint(op),",
      "tests/cards/api/test_idempotency.py"),
)  # fmt: skip

_WAITING = (
    _("a waiting request that is cancelled cancels the call", COALESCE,
      "        return await asyncio.shield(answer)\n",
      "        try:\n            return await asyncio.shield(answer)\n"
      "        except asyncio.CancelledError:\n            for call in self._calls:\n"
      "                call.cancel()\n            raise\n",
      TOGETHER, f"{MANY}::test_a_cancelled_request_is_executed_once"),
    _("a client that disconnects cancels its batch", LANE,
      "await asyncio.shield(asyncio.ensure_future(self._call_some(part)))",
      "await self._call_some(part)", LANES),
    _("a slow server is sent a cancel request", LANE,
      "*self._arguments(called, lock_timeout_ms))\n",
      "*self._arguments(called, lock_timeout_ms), timeout=0.3)\n",
      LANES),
    _("a broken connection is not retried", LANE,
      "                if time.monotonic() > give_up:", "                if True:",
      f"{MANY}::test_broken_connections_neither_lose_nor_repeat_a_posting"),
    _("an unknown outcome is reported as a failure", LANE,
      "                    raise (OutcomeUnknown() if sent else Overloaded()) from None\n"
      "            except asyncpg.DiskFullError",
      "                    raise Overloaded from None\n            except asyncpg.DiskFullError",
      LANES),
    _("a failing item fails the other items", LANE,
      "                if len(items) == 1:\n"
      "                    return [_error_answer(error, sent=sent_before)]\n",
      "                return [error for _ in items]\n",
      f"{MANY}::test_one_bad_item_does_not_fail_its_neighbours"),
    _("the waiting queue is not limited", COALESCE,
      "        if len(self._waiting) >= self._waiting_max:\n            raise Overloaded\n", "",
      TOGETHER),
    _("a request that waited too long is still executed", COALESCE,
      "if since_moved < oldest_moved or since < oldest:", "if False:", TOGETHER),
)  # fmt: skip

_BELTS = (
    _("the database allows a negative balance", TABLES,
      "constraint account_balance check (balance between 0 and 9000000000000000)",
      "constraint account_balance check (true)", CONSTRAINTS),
    _("the database allows holds above the balance", TABLES,
      "constraint account_held check (held between 0 and balance)",
      "constraint account_held check (held >= 0)", CONSTRAINTS),
    _("a sequence number may be used twice", TABLES,
      "create unique index transfer_debit_sequence", "create index transfer_debit_sequence",
      CONSTRAINTS),
    _("a refund number may be used twice", TABLES,
      "create unique index transfer_refunded", "create index transfer_refunded", CONSTRAINTS),
    _("a key of the schema does not begin with the merchant", TABLES,
      "  created_at timestamptz not null,\n  primary key (merchant, key)",
      "  created_at timestamptz not null,\n  primary key (merchant, key),\n  unique (resource_id)",
      CONSTRAINTS),
    _("entries can be changed", TABLES,
      "before update or delete or truncate on transfer", "before truncate on transfer",
      CONSTRAINTS),
    _("the application may write the tables it reads", "src/florin/migrations/grants.sql",
      "grant select on all tables", "grant select, update on all tables", CONSTRAINTS),
    _("a function of the owner uses the caller's search_path", POST,
      "set search_path from current\n", "", CONSTRAINTS),
    _("every role may call the functions", "src/florin/kit/postgres/function_sets.py",
      'f"revoke all on all functions in schema {name} from public;"', 'f""', CONSTRAINTS),
    _("a card is shown to another merchant", "src/florin/cards/card.py",
      "where a.merchant = $1 and a.id = $2\n", "where $1::uuid is not null and a.id = $2\n",
      "tests/journeys/test_foreign_objects.py"),
    _("an unreadable response is reported as a failure",
      "src/florin/kit/postgres/commit_tracking.py",
      "return bool(_changed.get())", "return False", "tests/journeys/test_unknown_outcome.py"),
    _("a revoked key stays in the cache", "src/florin/identity/authentication.py",
      "CACHED_S = 4.0", "CACHED_S = 400.0", "tests/identity/api/test_api_keys.py"),
)  # fmt: skip

MUTATIONS: tuple[Mutation, ...] = (
    *_LOCKS, *_MONEY, *_KEYS, *_WAITING, *_BELTS, *LIMITS, *IDENTITY, *ACCOUNTS, *QUEUE, *EVENTS,
    *REQUESTS, *FLEET, *NETWORK, *OPERATIONS, *OPERATOR, *CLUSTERS, *PAGES,
    *LAW_MUTATIONS, *PAYMENTS, *DISPUTE_MUTATIONS, *JOBS, *CARD_MUTATIONS, *DELIVERIES, *RELEASES,
    *REQUEST_COSTS, *DEPLOYS, *OBSERVABILITY, *WEBHOOKS,
)  # fmt: skip
