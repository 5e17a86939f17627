"""Mutations of the queue: fences, leases, attempts, deduplication, limits and single effects."""

from tests.mutation.mutation import without as _

SQL = "src/florin/kit/queue/queue.sql"
FENCE = "tests/kit/queue/test_fence.py"
RULES = "tests/kit/queue/test_scheduling.py"
PLANS = "tests/kit/queue/test_query_plans.py"
WORKER = "tests/kit/queue/test_worker.py"
POISON = "tests/kit/queue/test_failing_jobs.py"

_LOST = f"{FENCE}::test_a_worker_without_the_lease_changes_nothing"

_FENCES = (
    _("an effect is written without the lease", SQL,
      "set lease_until = clock_timestamp() + p_lease\n"
      "  where j.id = p_id and j.fence = p_fence;\n  return found;",
      "set lease_until = clock_timestamp() + p_lease\n"
      "  where j.id = p_id;\n  return found;",
      f"{FENCE}::test_an_effect_without_the_lease_is_rolled_back"),
    _("a worker without the lease completes a job", SQL,
      "  delete from florin.queue_job j where j.id = any (p_ids) and j.fence = any (p_fences)\n",
      "  delete from florin.queue_job j where j.id = any (p_ids)\n", _LOST),
    _("a worker without the lease fails a job", SQL,
      "where j.id = p_id and j.fence = p_fence and q.name = j.queue",
      "where j.id = p_id and q.name = j.queue", _LOST),
    _("a worker without the lease postpones a job", SQL,
      "    due_at = clock_timestamp() + p_delay\n  where j.id = p_id and j.fence = p_fence;",
      "    due_at = clock_timestamp() + p_delay\n  where j.id = p_id;", _LOST),
    _("a worker without the lease returns a job", SQL,
      "    attempts = j.attempts - 1\n"
      "  where j.id = any (p_ids) and j.fence = any (p_fences)\n",
      "    attempts = j.attempts - 1\n  where j.id = any (p_ids)\n", _LOST),
    _("a worker without the lease renews it", SQL,
      "where z.id = any (p_ids) and z.fence = any (p_fences)\n    for update skip locked));",
      "where z.id = any (p_ids)\n    for update skip locked));", _LOST),
    _("a fence is used twice", SQL,
      "fence = nextval('queue_fence'), worker = p_worker", "fence = 1, worker = p_worker",
      f"{FENCE}::test_an_effect_without_the_lease_is_rolled_back"),
)  # fmt: skip

_PICK = (
    "          select z.id from queue_job z\n"
    "          where z.queue = asked.name and z.state = 0 and exists (\n"
    "            select from unnest(p_kinds, p_versions) k (kind, version)\n"
    "            where k.kind = z.kind and k.version >= z.version)\n"
    "            and (z.merchant is null or z.merchant <> all (full_up))\n"
    "          order by z.priority desc, z.place, z.due_at, z.id\n"
    "          limit case when asked.max_running_per_merchant is null then n else 1 end\n"
)

FAIR = "tests/kit/queue/test_fair_turns.py"
_TURNS = (
    _("merchants are not served in turns", SQL,
      "order by z.priority desc, z.place, z.due_at, z.id\n", "order by z.priority desc, z.id\n",
      f"{FAIR}::test_merchants_take_turns"),
    _("a merchant's next slice runs before other merchants", SQL,
      "    place = (queue_places(array[j.queue], array[j.priority::integer],"
      " array[j.merchant]))[1],\n", "",
      f"{FAIR}::test_slices_of_a_long_job_leave_turns_to_a_merchant_with_many_jobs"),
    _("a job that becomes due keeps its old place", SQL,
      "update queue_job j set state = 0, place = w.place", "update queue_job j set state = 0",
      f"{FAIR}::test_jobs_that_become_due_take_turns"),
    _("a merchant may use all slots of a queue", SQL,
      "having count(*) >= asked.max_running_per_merchant", "having false",
      f"{FAIR}::test_one_merchant_does_not_get_all_slots"),
)  # fmt: skip

_LEASES = (
    _("a claimed job is claimed again", SQL,
      "where z.queue = asked.name and z.state = 0 and exists (",
      "where z.queue = asked.name and z.state < 2 and exists (",
      f"{FENCE}::test_a_job_belongs_to_one_worker_until_its_lease_expires"),
    _("a lease expires at once", SQL,
      "and z.lease_until < clock_timestamp() for update skip locked", "for update skip locked",
      f"{FENCE}::test_a_job_belongs_to_one_worker_until_its_lease_expires"),
    _("a lease never expires", SQL,
      "and z.lease_until < clock_timestamp() for update skip locked",
      "and false for update skip locked",
      f"{FENCE}::test_a_job_belongs_to_one_worker_until_its_lease_expires"),
    _("leases are not renewed while a worker stops", "src/florin/kit/queue/worker.py",
      "while keeps or not self._stop.is_set():", "while not self._stop.is_set():",
      f"{WORKER}::test_a_stopped_worker_finishes_running_jobs_and_returns_others"),
    _("claims wait for each other's rows", SQL,
      "is null then n else 1 end\n          for update skip locked))",
      "is null then n else 1 end\n          for update))",
      f"{FENCE}::test_claims_do_not_wait_for_each_other"),
    _("a claim is planned again for every row", SQL,
      "        where j.id = any (array(\n" + _PICK + "          for update skip locked))\n",
      "        from (\n" + _PICK + "          for update skip locked) pick where j.id = pick.id\n",
      PLANS),
)  # fmt: skip

_WORDS = (
    _("slots of their own are not served", "src/florin/kit/queue/worker.py",
      "group in self._slots.groups)\n", "group in self._slots.groups[:1])\n",
      f"{WORKER}::test_slots_of_its_own_make_a_queue_hold_no_one_up"),
    _("a queue with slots of its own takes those of others", "src/florin/kit/queue/slots.py",
      "SlotGroup(each.own_slots, [each])", "SlotGroup(100, [each])",
      f"{WORKER}::test_slots_of_its_own_make_a_queue_hold_no_one_up"),
    _("a joint effect waits for another transaction", SQL,
      "    select z.id from queue_job z where z.id = any (p_ids) and z.fence = any (p_fences)\n"
      "    for update skip locked))\n  returning j.fence;",
      "    select z.id from queue_job z where z.id = any (p_ids) and z.fence = any (p_fences)\n"
      "    for update))\n  returning j.fence;",
      f"{FENCE}::test_a_joint_effect_is_of_the_jobs_that_are_held"),
    _("a free slot is not notified", "src/florin/kit/queue/slots.py",
      "            self._freed()\n", "            pass\n",
      f"{RULES}::test_a_free_slot_claims_the_next_job_at_once"),
    _("a notification during a look-up is lost",
      "src/florin/kit/valkey/notifications.py",
      "if since is not None and since != self.words:", "if since is not None and False:",
      "tests/kit/valkey/test_notifications.py"),
)  # fmt: skip

_COUNTS = (
    _("an attempt is not counted at its start", SQL,
      "set state = 1, attempts = j.attempts + 1,", "set state = 1,",
      f"{FENCE}::test_an_attempt_that_kills_its_worker_counts"),
    _("a lost worker is not counted as a crash", SQL,
      "crashes = j.crashes + j.begun::integer,", "crashes = j.crashes,",
      f"{FENCE}::test_an_attempt_that_kills_its_worker_counts"),
    _("a job that crashed two workers runs again", "src/florin/kit/queue/runner.py",
      "LOST_MOST = 2 ", "LOST_MOST = 99 ",
      f"{POISON}::test_a_job_that_kills_its_worker_is_isolated"),
    _("duplicate jobs are queued", SQL,
      "coalesce(i.due_at, clock_timestamp()), i.dedupe, i.trace, p_position,",
      "coalesce(i.due_at, clock_timestamp()), null, i.trace, p_position,",
      f"{RULES}::test_a_duplicate_is_not_queued_until_the_first_is_done"),
    _("a scheduled tick runs on every worker", SQL,
      "  if not found then\n    return false;\n  end if;\n  perform queue_put(",
      "  perform queue_put(",
      f"{RULES}::test_a_claimed_tick_is_not_claimed_again"),
    _("the limit of the fleet is applied per worker", SQL,
      "  if rule.max_running is not null then", "  if false then",
      f"{RULES}::test_limits_hold_across_the_fleet"),
    _("a payload of a newer version is claimed", SQL,
      "where k.kind = z.kind and k.version >= z.version)", "where k.kind = z.kind)",
      f"{RULES}::test_a_newer_payload_waits_for_a_newer_worker"),
    _("a retried dead job has no attempts left", "src/florin/kit/queue/admin.py",
      "set state = 0, attempts = 0, crashes = 0,", "set state = 0,",
      "tests/cli/test_queues.py::test_retry_gives_all_attempts_again"),
)  # fmt: skip

_EFFECTS = (
    _("money returned to an expired card stays on it", "src/florin/ledger/post.sql",
      "  if 'expired' = any (c_state) then", "  if false then",
      "tests/cards/jobs/test_expiry.py::test_money_returned_to_an_expired_card_is_breakage"),
    _("a part of a file is imported more than once", "src/florin/cards/jobs/import_cards.py",
      "            if len(await tx.all(_END, merchant, uuid, parts)) < len(parts):",
      "            if await tx.all(_END, merchant, uuid, [-1]):",
      "tests/cards/jobs/test_job_types.py::test_twice"),
    _("the totals of pruned jobs are lost", SQL,
      "do update set arrived = f.arrived + excluded.arrived,\n    completed",
      "do update set arrived = excluded.arrived,\n    completed",
      "tests/cards/jobs/test_job_types.py::test_twice"),
)  # fmt: skip

_MEASURE = "tests/cards/jobs/test_throttle.py::test_a_long_job_slows_down_while_requests_arrive"
_PACE = (
    _("a long job does not yield to redemptions", "src/florin/ledger/post.sql",
      "    perform nextval('posting_counter');\n", "", _MEASURE),
    _("a long job does not yield to sales", "src/florin/ledger/issue.sql",
      "    perform nextval('posting_counter');\n", "", _MEASURE),
    _("a long job yields to its own cards", "src/florin/ledger/issue.sql",
      "  if p_key[1] is not null then", "  if true then", _MEASURE),
    _("a long job yields to its own expiries", "src/florin/ledger/post.sql",
      "  if p_op[1] <> 'expire' and not p_background then", "  if true then", _MEASURE),
    _("a long job does not refresh query plans", "src/florin/cards/jobs/bulk_issue.py",
      "        await pace.begin()\n", "",
      "tests/cards/jobs/test_throttle.py::test_a_job_analyzes_tables_that_have_grown"),
    _("long jobs are not counted together", "src/florin/cards/jobs/throttle.py",
      '_PAUSE_BUSY * max(row["jobs"], 1)', "_PAUSE_BUSY",
      "tests/cards/jobs/test_throttle.py::test_concurrent_jobs_pause_in_proportion_to_their_number"),
)  # fmt: skip

QUEUE = (*_TURNS, *_FENCES, *_LEASES, *_WORDS, *_COUNTS, *_EFFECTS, *_PACE)
