"""Mutations of the limits on a request: its size and shape, its reads, lost clients."""

from tests.mutation.mutation import without as _

SHAPES = "src/florin/kit/http/json_limits.py"
HEADS = "src/florin/kit/http/head_checks.py"
FREQUENT = "src/florin/cards/api/frequent_operations.py"
FIELDS = "src/florin/kit/http/field_errors.py"
ADAPTER = "src/florin/kit/http/litestar_adapter.py"
POOL = "src/florin/kit/postgres/pool.py"
ROUTING = "src/florin/kit/replicas/routing.py"
DEPARTURE = "src/florin/kit/client_departure.py"
BALANCER = "src/florin/ops/haproxy/config.py"
SOAK = "src/florin/ops/rollout/soak.py"

LINEAR = "tests/kit/http/test_linear_cost.py"
ENTRY_POINTS = "tests/cards/api/test_entry_points.py"
FILTERS = "tests/cards/api/test_list_filters.py"
HOSTS = "tests/kit/http/test_hosts.py"
GONE = "tests/kit/http/test_client_departure.py"
SLOW = "tests/kit/replicas/test_slow_reads.py"
RETRIES = "tests/ops/haproxy/test_retries.py"
SOAKS = "tests/ops/rollout/test_soak.py"

REQUEST_COSTS = (
    _("each name is compared with all others", SHAPES,
      "    seen: set[str] = set()\n", "    seen: list[str] = []\n",
      f"{LINEAR}::test_a_duplicate_name_is_found_in_one_pass"),
    _("a body may have any number of names", SHAPES,
      '    if outside.count(b":") > NAMES_MAX:\n', "    if False:\n",
      f"{LINEAR}::test_a_body_has_a_bounded_number_of_names_objects_and_lists"),
    _("a body may have any number of objects and lists", SHAPES,
      '    if outside.count(b"{") + outside.count(b"[") > CONTAINERS_MAX:\n', "    if False:\n",
      f"{LINEAR}::test_a_body_has_a_bounded_number_of_names_objects_and_lists"),
    _("text content counts as structure", SHAPES,
      "    outside = _outside_strings(body)\n", "    outside = body\n",
      f"{LINEAR}::test_content_of_strings_is_not_counted"),
    _("a long name is copied for each value below it", FIELDS,
      "here = _below(param, name)[:NAME_MAX]", "here = _below(param, name)",
      f"{LINEAR}::test_each_check_of_a_body_has_linear_cost"),
    _("an item of a batch may have any size", FREQUENT,
      "        if len(raw) > BATCH_ITEM_MAX:\n", "        if False:\n",
      "tests/cards/api/test_batch_limits.py"),
    _("reading a batch blocks other requests", FREQUENT,
      "                await asyncio.sleep(0)\n", "",
      "tests/cards/api/test_batch_limits.py::test_other_requests_run_while_batches_are_read"),
    _("the number of batches read at once is not limited", FREQUENT,
      "        async with self._reading_batch:\n", "        if True:\n",
      "tests/cards/api/test_batch_limits.py::test_other_requests_run_while_batches_are_read"),
    _("an invalid item refuses a documented batch", "src/florin/cards/api/transactions.py",
      "    opt={DECODE: _read_batch},\n", "",
      f"{ENTRY_POINTS}::test_both_entry_points_answer_alike"),
    _("a documented batch is as small as other bodies", "src/florin/cards/api/transactions.py",
      "    request_max_body_size=BATCH_BODY_MAX,\n", "",
      f"{ENTRY_POINTS}::test_both_entry_points_refuse_alike"),
    _("every mistake of a body is explained", FIELDS,
      "        if len(errors) > ERRORS_MAX:\n", "        if False:\n",
      "tests/cards/api/test_batch_limits.py::test_a_refusal_explains_no_more_mistakes_than_it_names"),
    _("a merchant sends any number of files at a time", "src/florin/cards/jobs/import_upload.py",
      "    if _uploads[merchant] >= UPLOADS_MAX:\n", "    if False:\n",
      "tests/cards/jobs/test_import_cards.py::test_a_merchant_sends_few_files_at_a_time"),
    _("a query may have any number of parameters", HEADS,
      '    if query.count(b"&") >= QUERY_PARAMETERS_MAX:\n', "    if False:\n",
      f"{LINEAR}::test_a_query_has_a_bounded_number_of_parameters"),
    _("the number of metadata filters is not limited", ADAPTER,
      "    if len(pairs) > METADATA_FILTERS_MAX:", "    if False:",
      f"{FILTERS}::test_a_list_accepts_ten_metadata_filters_at_most"),
    _("an invalid Host header is accepted", HEADS,
      "if len(value) > _HOST_MAX or _HOST.fullmatch(value) is None:", "if False:",
      f"{HOSTS}::test_an_invalid_host_is_refused"),
    _("two Host headers are accepted", HEADS, "    if count > 1:\n        raise BadHost",
      "    if False:\n        raise BadHost", f"{HOSTS}::test_an_invalid_host_is_refused"),
    _("a truncated body is a server error", ADAPTER,
      '            raise ClientGone("the client disconnected before the request was complete")'
      " from None\n", "            raise\n",
      f"{GONE}::test_an_interrupted_body_is_not_counted_as_an_error"),
    _("a read has no time limit", POOL,
      '            **({"statement_timeout": f"{round(READ_STATEMENT_S * 1000)}"} if reads'
      " else {}),\n",
      "",
      f"{SLOW}::test_a_slow_read_is_ended_by_the_server_and_not_repeated"),
    _("a slow read is repeated on the next server", ROUTING,
      "            if self._over is None:\n", "            if False:\n",
      f"{SLOW}::test_a_slow_read_of_a_replica_is_not_repeated_elsewhere"),
    _("a read-only transaction may write", "src/florin/kit/postgres/database.py",
      '            settings={"default_transaction_read_only": "on"},\n', "",
      f"{SLOW}::test_read_connections_are_read_only"),
    _("a read continues after its client disconnects", POOL,
      "        with ends_with_client():\n", "        if self._reads:\n",
      f"{GONE}::test_a_read_is_cancelled_when_its_client_disconnects"),
    _("a payment ends when its client disconnects", POOL,
      "        if not self._reads:\n", "        if self.server == 'nothing':\n",
      f"{SLOW}::test_only_reads_end_with_their_client"),
    _("a payment is begun for a client that is gone", "src/florin/ledger/batching.py",
      "if item.client is None or not item.client.gone]", "if True]",
      f"{GONE}::test_what_has_not_begun_is_not_begun_for_a_client_that_is_gone"),
    _("a job is begun for a client that is gone", DEPARTURE,
      "        await asyncio.sleep(0)\n        if connection.gone:\n", "        if False:\n",
      f"{GONE}::test_what_has_not_begun_is_not_begun_for_a_client_that_is_gone"),
    _("a cancelled task counts as a disconnected client", DEPARTURE,
      "            if task in self._cancelled and task.uncancel() == 0:\n",
      "            if True:\n",
      f"{SLOW}::test_a_task_cancelled_elsewhere_stays_cancelled"),
    _("a request that timed out is repeated", BALANCER,
      "  retry-on conn-failure empty-response\n",
      "  retry-on conn-failure empty-response response-timeout\n",
      f"{RETRIES}::test_a_request_that_timed_out_is_sent_once"),
    _("one error rolls a deployment back", SOAK,
      "if blamed >= ERRORS_LEAST and", "if",
      f"{SOAKS}::test_new_instances_are_compared_with_the_old"),
    _("errors that old instances also have roll a deployment back", SOAK,
      "2 * old.failing(route), 2 * old_before.failing(route)", "0",
      f"{SOAKS}::test_new_instances_are_compared_with_the_old"),
    _("earlier errors of old instances are forgotten", SOAK,
      ", 2 * old_before.failing(route)", "",
      f"{SOAKS}::test_figures_of_idle_old_instances_are_kept"),
)  # fmt: skip
