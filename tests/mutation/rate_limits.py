"""Mutations of limits: guesses of codes, passwords and PINs are counted and refused; what is
too large, or could be read in two ways, is refused.
"""

from tests.mutation.mutation import without as _

GUESSING = "src/florin/cards/code_guessing.py"
LIMIT = "src/florin/kit/rate_limits/limiter.py"
DEBTS = "src/florin/kit/rate_limits/store.py"
PROXIES = "src/florin/kit/http/client_address.py"
EDGE = "src/florin/kit/http/middleware.py"

GUESSES = "tests/cards/test_code_guessing.py"
COUNTS = "tests/kit/rate_limits/test_limiter.py"
HOPS = "tests/kit/http/test_client_address.py"
HEADS = "tests/kit/http/test_hostile_headers.py"
HTTP = "tests/kit/http/test_middleware.py"

_GUESSING = (
    _("a wrong code is not counted", GUESSING,
      "            await self.record_failure(context, typed, times=guess_weight(typed))\n"
      "            raise\n",
      "            raise\n",
      f"{GUESSES}::test_wrong_codes_are_counted_together_wherever_they_are_tried"),
    _("the wrong codes of a batch are not counted", "src/florin/cards/transactions/batch.py",
      "await transactions.guesses.record_batch(part[0][0], codes)",
      "[answer for _, answer in codes]",
      f"{GUESSES}::test_a_batch_with_too_many_wrong_codes_is_limited"),
    _("a batch is tried by a limited caller",
      "src/florin/cards/transactions/batch.py",
      "            await transactions.guesses.admit(context, request.code)\n", "            pass\n",
      f"{GUESSES}::test_wrong_codes_are_counted_together_wherever_they_are_tried"),
    _("guesses are not counted by address", GUESSING,
      '            (self._address, f"{merchant}:{client_network(context.address)}"),\n', "",
      f"{GUESSES}::test_wrong_codes_are_counted_together_wherever_they_are_tried"),
    _("guesses are not counted by principal", GUESSING,
      '            (self._principal, f"{merchant}:{context.actor}"),\n', "",
      f"{GUESSES}::test_a_principal_is_counted_over_all_addresses"),
    _("guesses are not counted by prefix", GUESSING,
      "            subjects.append((self._prefix, named.hexdigest()))\n", "            del named\n",
      f"{GUESSES}::test_a_code_known_in_part_is_not_completed_by_trying"),
    _("named end clients are counted as their server", GUESSING,
      "        if context.client_named:\n", "        if False:\n",
      f"{GUESSES}::test_guesses_of_one_end_client_do_not_block_the_calling_server"),
    _("a named end client is not counted", GUESSING,
      '            (self._client, f"{merchant}:{client_network(context.address)}"),\n', "",
      f"{GUESSES}::test_guesses_of_one_end_client_do_not_block_the_calling_server"),
    _("an end client has a limit per address", GUESSING,
      '            (self._network, f"{merchant}:{block(context.address)}"),\n', "",
      f"{GUESSES}::test_a_client_with_many_addresses_blocks_its_own_network_only"),
    _("a key that names end clients has no limit", GUESSING,
      '            (self._naming_key, f"{merchant}:{context.actor}"),\n', "",
      f"{GUESSES}::test_a_key_that_invents_client_addresses_is_limited"),
    _("an end client is named without the scope", "src/florin/cards/api/end_client.py",
      "    caller.needs(SCOPE)\n", "",
      f"{GUESSES}::test_naming_a_client_needs_the_scope_and_a_valid_address"),
    _("guesses at one merchant limit another merchant", GUESSING,
      "        merchant = context.merchant.hex\n", '        merchant = ""\n',
      f"{GUESSES}::test_the_guesses_of_one_client_do_not_block_others"),
    _("a caller over the limit is not refused", GUESSING,
      "        if wait is not None:\n            raise rate_limit_refusal(_KIND, wait)\n\n"
      "    async def record_failure",
      "        if False:\n            raise rate_limit_refusal(_KIND, wait)\n\n"
      "    async def record_failure",
      f"{GUESSES}::test_wrong_codes_are_counted_together_wherever_they_are_tried"),
    _("concurrent guesses exceed the limit", GUESSING,
      "        if wait is not None:\n            raise rate_limit_refusal(_KIND, wait)\n\n"
      "    async def record_batch",
      "        if False:\n            raise rate_limit_refusal(_KIND, wait)\n\n"
      "    async def record_batch",
      f"{GUESSES}::test_concurrent_attempts_are_counted_exactly"),
    _("right codes are counted as guesses", GUESSING,
      "            wrong = typed is not None and isinstance(answer, _WRONG)\n",
      "            wrong = typed is not None\n",
      f"{GUESSES}::test_successful_requests_are_not_limited"),
    _("a malformed code is counted as a guess", GUESSING,
      "_WRONG = CardNotFound\n", "_WRONG = (CardNotFound, CodeMalformed)\n",
      f"{GUESSES}::test_a_malformed_code_is_no_guess"),
    _("X-Forwarded-For of an untrusted client is used", PROXIES,
      "            if not any(client in network for network in self._trusted):\n"
      "                break\n",
      "", HOPS, f"{GUESSES}::test_without_valkey_an_instance_counts_by_itself"),
    _("each address of an IPv6 network has its own limit", PROXIES,
      "_SITE_BITS = 64", "_SITE_BITS = 128", HOPS),
)  # fmt: skip

_COUNTING = (
    _("without Valkey nothing is counted", LIMIT,
      "        self._remember(key, debt)\n        return debt\n", "        return debt\n",
      f"{COUNTS}::test_a_process_without_valkey_admits_its_share",
      f"{GUESSES}::test_without_valkey_an_instance_counts_by_itself"),
    _("alone, each process allows the whole limit", LIMIT,
      "return min(limit.unit_s * self._shares, limit.per_s) if alone else limit.unit_s",
      "return limit.unit_s", f"{COUNTS}::test_a_process_without_valkey_admits_its_share"),
    _("a caller near the limit is not checked in Valkey", LIMIT,
      "            if alone or (debt < limit.per_s / 2 and not sure):\n", "            if True:\n",
      f"{COUNTS}::test_processes_share_a_limit"),
    _("a count over the limit is not reported", LIMIT,
      "debt - limit.per_s + limit.unit_s if debt > limit.per_s + _ROUNDING_S else 0", "0",
      f"{COUNTS}::test_concurrent_attempts_are_counted_exactly"),
    _("the shared count is not updated", DEBTS,
      "due = math.min(due + more, now", "due = math.min(due, now",
      f"{COUNTS}::test_the_limit_admits_its_number_of_attempts"),
    _("the local counts are not limited", DEBTS,
      "due = math.min(due + more, now + tonumber(ARGV[2]))", "due = due + more",
      f"{COUNTS}::test_no_refusal_lasts_longer_than_the_recovery"),
    _("an unresponsive Valkey is tried for every request", DEBTS,
      "        if self._slow >= SLOW_MAX:\n", "        if False:\n",
      f"{COUNTS}::test_a_slow_valkey_is_bypassed"),
    _("requests are not counted", "src/florin/app.py",
      "            await count_request(caller.actor)\n", "",
      f"{GUESSES}::test_requests_are_limited_where_a_setting_says_so"),
    _("requests of fast routes are not counted", "src/florin/cards/api/fast_routes.py",
      "        await self._count_request(caller.actor)\n", "",
      f"{GUESSES}::test_requests_are_limited_where_a_setting_says_so"),
)  # fmt: skip

_READING = (
    _("the size of a body is not limited", EDGE,
      "        if size > most:\n", "        if False:\n",
      f"{HTTP}::test_a_body_is_bounded"),
    _("the size of headers is not limited", "src/florin/kit/server/protocol.py",
      "        self._in_head = False\n        if self._head > HEAD_MAX:\n",
      "        self._in_head = False\n        if False:\n", f"{HTTP}::test_headers_are_bounded"),
    _("a repeated header is accepted", "src/florin/kit/http/head_checks.py",
      "        if count > 1 and name in _ONE_EACH:\n", "        if False:\n",
      f"{HEADS}::test_headers"),
    _("a repeated field is accepted", "src/florin/kit/http/body.py",
      "        check_names(body.decode())\n", "        body.decode()\n",
      "tests/kit/http/test_hostile_bodies.py::test_a_nested_field_given_twice_is_refused"),
    _("every origin may read responses", "src/florin/kit/http/headers.py",
      "if origin is not None and origin in known:", "if origin is not None:",
      f"{HTTP}::test_only_named_origins_may_read_answers"),
    _("any request id of a caller is logged", "src/florin/kit/observability/request_records.py",
      "None if redaction.looks_secret(given) else given", "given",
      "tests/kit/observability/test_logging.py::test_no_secret_of_a_request_leaves"),
    _("a refused write has no consistency token", EDGE,
      "elif status < 500 and self._position is not None:", "elif False:",
      "tests/kit/http/test_refusals.py"),
    _("production accepts weak secrets",
      "src/florin/kit/settings/validation.py", "    _strong,\n", "",
      "tests/kit/settings/test_settings.py::test_production_refuses_weak_secrets"),
    _("production accepts default passwords", "src/florin/kit/settings/validation.py",
      "    _no_default_password,\n", "",
      "tests/kit/settings/test_settings.py::test_production_refuses_common_passwords"),
)  # fmt: skip

LIMITS = (*_GUESSING, *_COUNTING, *_READING)
