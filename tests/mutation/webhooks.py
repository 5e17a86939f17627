"""Mutations of webhooks and the test clock: guards of addresses, order, isolation and settling."""

from tests.mutation.mutation import without as _

ADDRESSES = "src/florin/webhooks/addresses.py"
CLIENT = "src/florin/webhooks/http_client.py"
CONNECTION = "src/florin/webhooks/http_connection.py"
FORMS = "tests/webhooks/test_http_connection.py"
WRITER = "src/florin/webhooks/outcome_writer.py"
JOBS = "src/florin/webhooks/jobs.py"
LANE = "tests/webhooks/test_lane.py"
FAN_OUT = "src/florin/webhooks/fan_out.sql"
SAFE = "tests/webhooks/test_addresses.py"
SENT = "tests/webhooks/test_delivery.py"
CLOCK = "tests/test_clock/test_advance.py"
MAILED = (
    "tests/test_clock/test_due_deliveries.py"
    "::test_a_card_is_mailed_reminded_expired_and_reinstated_in_one_move"
)
CORPUS = f"{SAFE}::test_no_url_of_the_corpus_is_accepted_or_connected"

WEBHOOKS = (
    _("IPv4 addresses inside IPv6 are not looked at", ADDRESSES,
      "return self.reason_against(address.ipv4_mapped)", "return None", CORPUS),
    _("networks that reach IPv4 inside IPv6 are not blocked", ADDRESSES,
      "blocked = any(address in network for network in _BLOCKED)", "blocked = False", CORPUS),
    _("unusual forms of IP addresses are accepted", ADDRESSES,
      "            socket.inet_aton(host)\n", "            socket.inet_aton('x')\n",
      f"{SAFE}::test_an_unusual_form_is_refused_without_a_look_up"),
    _("only the first address of a name is checked", ADDRESSES,
      "    for address in found:\n", "    for address in found[:1]:\n", CORPUS),
    _("a connection resolves the name again", CLIENT,
      "self._open(address, port,", "self._open(host, port,",
      f"{SAFE}::test_the_connection_goes_to_the_address_that_was_checked"),
    _("an answer without an end is awaited", CLIENT,
      "asyncio.timeout(ANSWER_WITHIN_S), self._room:", "asyncio.timeout(None), self._room:",
      f"{SAFE}::test_answers_are_cut_at_a_size_and_a_time"),
    _("an answer is read without a limit", CONNECTION,
      "if len(self._answer.body) >= ANSWER_MAX or self._received >= _RECEIVED_MAX:", "if False:",
      f"{FORMS}::test_an_answer_without_an_end_is_cut"),
    _("only bodies of answers have a limit", CONNECTION,
      " or self._received >= _RECEIVED_MAX:", ":",
      f"{FORMS}::test_an_answer_without_an_end_is_cut"),
    _("a connection with an answer that no one asked for is used again", CONNECTION,
      "            self.close()  # no one asked\n", "",
      f"{FORMS}::test_other_answers_end_their_connection"),
    _("a connection that its receiver ends is used again", CONNECTION,
      "self.is_reusable = self._parser.should_keep_alive()", "self.is_reusable = True",
      f"{FORMS}::test_other_answers_end_their_connection"),
    _("half an answer is one", CONNECTION,
      "if self._has_headers and not self._is_framed and exc is None:", "if self._has_headers:",
      f"{FORMS}::test_what_is_no_answer_is_a_failure"),
    _("endpoints that hang use the connections of others", "src/florin/webhooks/lane.py",
      "        self.unproven = asyncio.Semaphore(room - room // 3)",
      "        self.unproven = asyncio.Semaphore(1)",
      f"{SENT}::test_dead_endpoints_do_not_delay_others"),
    _("the previous secret does not sign during a rotation", FAN_OUT,
      "case when e.previous_until > clock_timestamp() then e.previous_sealed end",
      "null::bytea", f"{SENT}::test_both_secrets_sign_during_a_rotation"),
    _("outcomes are written after the lease was lost", WRITER,
      "async with self._job.effect() as tx:",
      "async with self._job._database.transaction() as tx:",
      f"{LANE}::test_a_lane_that_lost_its_lease_writes_nothing"),
    _("lanes are woken in the transaction that holds their endpoints", JOBS,
      "    async with job.effect() as tx:\n        await wake_lanes(tx)\n",
      "        await wake_lanes(tx)\n", f"{LANE}::test_waking_a_lane_waits_for_no_outcome"),
    _("outcomes that a deadlock undid are lost", WRITER, "if not left:", "if True:",
      f"{LANE}::test_outcomes_that_a_deadlock_undid_are_written_again"),
    _("the end of a lane interrupts what it writes", "src/florin/webhooks/lane.py",
      "        self._outcomes.end()\n", "        writing.cancel()\n",
      f"{LANE}::test_the_end_of_a_lane_waits_for_its_outcomes"),
    _("events of transactions that still run are skipped", FAN_OUT,
      "coalesce(oldest_money(), statement_timestamp())", "statement_timestamp()",
      "tests/webhooks/test_fan_out.py::test_an_event_of_a_long_transaction_is_not_skipped"),
    _("deliveries are made while the clock moves", FAN_OUT,
      "where e.state = 'enabled' and not m.clock_moving", "where e.state = 'enabled'",
      "tests/webhooks/test_fan_out.py::test_nothing_is_made_while_the_clock_moves"),
    _("a fan-out undoes a replay", FAN_OUT,
      "      and e.cursor_at = l.cursor_at and e.cursor_event = l.cursor_event\n", "",
      "tests/webhooks/test_fan_out.py::test_a_replay_during_a_fan_out_is_kept"),
    _("two jobs move a clock", "src/florin/test_clock/clock.py",
      '    if row["job"] is not None:\n', "    if False:\n",
      f"{CLOCK}::test_the_clock_goes_ahead_only_and_by_one_job_at_a_time"),
    _("a job that moves a clock is stopped", "src/florin/cards/jobs/batch_change.py",
      "<> 'finished' and advance_to is null returning id", "<> 'finished' returning id",
      f"{CLOCK}::test_the_job_is_neither_stopped_nor_a_batch"),
    _("a job that moves a clock is a batch", "src/florin/cards/jobs/batch_change.py",
      '    if row["advance_to"] is not None:\n', "    if False:\n",
      f"{CLOCK}::test_the_job_is_neither_stopped_nor_a_batch"),
    _("the clock passes reminders and deliveries", "src/florin/worker.py",
      "DUE_WORK = (EXPIRY, DELIVERIES, DueWork(", "DUE_WORK = (EXPIRY, DueWork(", MAILED),
    _("the clock does not wait for messages", "src/florin/test_clock/due_deliveries.py",
      "return bool(more or await tx.value(_UNSENT, merchant))", "return more", MAILED),
    _("the clock jumps to its end", "src/florin/test_clock/advance.py",
      "min([to, *(each for", "max([to, *(each for",
      f"{CLOCK}::test_holds_and_cards_expire_in_order_and_webhooks_follow"),
)  # fmt: skip
