"""Mutations of what a request may cost: its shape, its reads, and what outlives its client."""

from tests.mutation.mutation import without as _

SHAPES = "src/florin/kit/http/json_limits.py"
HEADS = "src/florin/kit/http/head_checks.py"
FAST = "src/florin/cards/api/fast_routes.py"
FIELDS = "src/florin/kit/http/field_errors.py"
ADAPTER = "src/florin/kit/http/litestar_adapter.py"
POOL = "src/florin/kit/postgres/pool.py"
ROUTING = "src/florin/kit/replicas/routing.py"
DEPARTURE = "src/florin/kit/client_departure.py"
BALANCER = "src/florin/ops/haproxy/config.py"
SOAK = "src/florin/ops/rollout/soak.py"

LINEAR = "tests/kit/http/test_linear_cost.py"
FILTERS = "tests/cards/api/test_list_filters.py"
HOSTS = "tests/kit/http/test_hosts.py"
GONE = "tests/kit/http/test_client_departure.py"
SLOW = "tests/kit/replicas/test_slow_reads.py"
RETRIES = "tests/ops/haproxy/test_retries.py"
SOAKS = "tests/ops/rollout/test_soak.py"

REQUEST_COSTS = (
    _("each name is compared with all others", SHAPES,
      "    seen: set[str] = set()\n", "    seen: list[str] = []\n",
      f"{LINEAR}::test_a_name_given_twice_is_found_in_one_pass"),
    _("a body may have any number of names", SHAPES,
      '    if outside.count(b":") > NAMES_MAX:\n', "    if False:\n",
      f"{LINEAR}::test_a_body_has_a_bounded_number_of_names_objects_and_lists"),
    _("a body may have any number of objects and lists", SHAPES,
      '    if outside.count(b"{") + outside.count(b"[") > CONTAINERS_MAX:\n', "    if False:\n",
      f"{LINEAR}::test_a_body_has_a_bounded_number_of_names_objects_and_lists"),
    _("what stands in texts counts as shape", SHAPES,
      "    outside = _outside_of_texts(body)\n", "    outside = body\n",
      f"{LINEAR}::test_what_stands_in_texts_is_not_counted"),
    _("a long name is copied for each value below it", FIELDS,
      "here = _below(param, name)[:NAME_MAX]", "here = _below(param, name)",
      f"{LINEAR}::test_what_a_body_is_checked_with"),
    _("an item of a batch may have any size", FAST,
      "        if len(raw) > BATCH_ITEM_MAX:\n", "        if False:\n",
      "tests/cards/api/test_batch_limits.py"),
    _("a batch is read without a pause", FAST,
      "                await asyncio.sleep(0)\n", "",
      "tests/cards/api/test_batch_limits.py::test_other_requests_run_while_batches_are_read"),
    _("any number of batches are read at once", FAST,
      "        async with self._reading_batch:\n", "        if True:\n",
      "tests/cards/api/test_batch_limits.py::test_other_requests_run_while_batches_are_read"),
    _("each mistake of a body is explained", FIELDS,
      "        if len(found) > ERRORS_MAX:\n", "        if False:\n",
      "tests/cards/api/test_batch_limits.py::test_a_refusal_explains_no_more_mistakes_than_it_names"),
    _("a query may have any number of parameters", HEADS,
      '    if query.count(b"&") >= QUERY_PARAMETERS_MAX:\n', "    if False:\n",
      f"{LINEAR}::test_a_query_has_a_bounded_number_of_parameters"),
    _("a list may be narrowed by any number of pairs", ADAPTER,
      "    if len(pairs) > METADATA_FILTERS_MAX:", "    if False:",
      f"{FILTERS}::test_a_list_is_narrowed_by_ten_pairs_at_most"),
    _("a host that is none is believed", HEADS,
      "if len(value) > _HOST_MAX or _HOST.fullmatch(value) is None:", "if False:",
      f"{HOSTS}::test_a_host_that_is_none_is_refused"),
    _("of two hosts one is believed", HEADS, "    if count > 1:\n        raise BadHost",
      "    if False:\n        raise BadHost", f"{HOSTS}::test_a_host_that_is_none_is_refused"),
    _("a body that is cut off is an error of the server", ADAPTER,
      '            raise ClientGone("the request was cut off") from None\n', "            raise\n",
      f"{GONE}::test_a_body_that_is_cut_off_is_no_error_of_ours"),
    _("a read may take for ever", POOL,
      '            **({"statement_timeout": f"{round(READ_STATEMENT_S * 1000)}"} if reads'
      " else {}),\n",
      "",
      f"{SLOW}::test_a_slow_read_is_ended_by_the_server_and_asked_once"),
    _("a slow read is asked of the next server", ROUTING,
      "            if self._over is None:\n", "            if False:\n",
      f"{SLOW}::test_a_read_that_is_slow_on_a_replica_is_asked_of_no_other_server"),
    _("what is only read may write", "src/florin/kit/postgres/database.py",
      '            settings={"default_transaction_read_only": "on"},\n', "",
      f"{SLOW}::test_what_is_only_read_writes_nothing"),
    _("a read outlives its client", POOL,
      "        with ends_with_client():\n", "        if self._reads:\n",
      f"{GONE}::test_a_read_ends_with_its_client"),
    _("money ends with its client", POOL,
      "        if not self._reads:\n", "        if self.server == 'nothing':\n",
      f"{SLOW}::test_only_reads_end_with_their_client"),
    _("a cancelled task is taken for a client that is gone", DEPARTURE,
      "            if task in self._cancelled and task.uncancel() == 0:\n",
      "            if True:\n",
      f"{SLOW}::test_a_task_that_is_ended_by_others_stays_so"),
    _("a request that timed out is repeated", BALANCER,
      "  retry-on conn-failure empty-response\n",
      "  retry-on conn-failure empty-response response-timeout\n",
      f"{RETRIES}::test_a_request_that_timed_out_is_sent_once"),
    _("no instance hears of a client that is gone", BALANCER,
      "  option abortonclose\n", "",
      f"{RETRIES}::test_an_instance_hears_of_a_client_that_is_gone"),
    _("one error undoes a deployment", SOAK,
      "if blamed >= ERRORS_LEAST and", "if",
      f"{SOAKS}::test_new_instances_are_compared_with_the_old"),
    _("what the old ones answer alike undoes a deployment", SOAK,
      "2 * old.failing(route), 2 * old_before.failing(route)", "0",
      f"{SOAKS}::test_new_instances_are_compared_with_the_old"),
    _("what the old ones once answered alike is forgotten", SOAK,
      ", 2 * old_before.failing(route)", "",
      f"{SOAKS}::test_old_instances_that_are_asked_nothing_any_more_are_remembered"),
)  # fmt: skip
