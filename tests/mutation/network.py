"""Mutations of the network edge: paths, ports, connections, reports and positions."""

from tests.mutation.mutation import without as _

EDGE = "src/florin/kit/http/middleware.py"
SIGNED = "src/florin/kit/replicas/signed_positions.py"
ROUTING = "src/florin/kit/replicas/routing.py"
BALANCER = "src/florin/ops/haproxy/settings.py"
REPORTS = "src/florin/reports/report_runner.py"
HEALTH = "src/florin/kit/server/health.py"
OPERATIONS = "src/florin/kit/server/operations.py"
RULES = "src/florin/ops/haproxy/config_fragments.py"

INVENTED = "tests/kit/replicas/test_signed_positions.py"
CROWDS = "tests/ops/haproxy/test_connections.py"
BOUNDS = "tests/reports/test_report_runner.py"
HEALTHS = "tests/kit/server/test_health.py"
LISTENERS = "tests/kit/server/test_operations.py"
NAMES = "tests/kit/postgres/test_host_names.py"
PEERS = "tests/kit/postgres/test_lost_peers.py"
PATHS = "tests/ops/haproxy/test_paths.py"

NETWORK = (
    _("each connection to a database looks its host's name up by itself",
      "src/florin/kit/postgres/host_names.py",
      "    lookup = lookups.get(host)\n", "    lookup = None\n",
      f"{NAMES}::test_connections_reach_the_next_host_while_a_name_is_not_answered_for"),
    _("a database's host is asked for before its name is known",
      "src/florin/kit/postgres/pool.py",
      "await look_up(name, CONNECT_WITHIN_S)", "pass",
      f"{NAMES}::test_connections_reach_the_next_host_while_a_name_is_not_answered_for"),
    _("a server keeps the session of a machine that is gone",
      "src/florin/kit/postgres/pool.py",
      'SERVER_SETTINGS | options.get("server_settings", {})', 'options.get("server_settings", {})',
      f"{PEERS}::test_both_ends_of_a_connection_have_the_limits"),
    _("a client waits for the answer of a machine that is gone",
      "src/florin/kit/postgres/pool.py",
      "                probe_server(connection)\n", "",
      f"{PEERS}::test_both_ends_of_a_connection_have_the_limits"),
    _("an encoded slash reaches the route of a plain one", EDGE,
      '            scope["path"] = paths.normalized(scope["raw_path"])\n', "            pass\n",
      f"{LISTENERS}::test_a_route_is_the_same_in_every_spelling"),
    _("the operations port listens on the public address", OPERATIONS,
      "OperationsListener(settings.operations_host, ", "OperationsListener(settings.host, ",
      f"{LISTENERS}::test_the_operations_port_is_on_loopback_wherever_the_public_one_is"),
    _("the balancer's rules see the path before normalization", RULES,
      "  http-request normalize-uri percent-decode-unreserved\n", "",
      f"{PATHS}::test_instances_receive_the_path_as_they_would_normalize_it"),
    _("probes of the database share one connection", HEALTH,
      "        if self._probing is None or self._probing.done():\n", "        if True:\n",
      f"{HEALTHS}::test_concurrent_requests_cause_one_probe"),
    _("every health request probes the database", HEALTH,
      "self._probed is None or time.monotonic() - self._probed > FRESH_S", "self._task is not None",
      f"{HEALTHS}::test_the_answer_is_that_of_the_last_probe"),
    _("one merchant uses all connections of reports", REPORTS,
      "                    await turn.lock.acquire()\n",
      "                    turn.lock = asyncio.Lock()\n"
      "                    await turn.lock.acquire()\n",
      f"{BOUNDS}::test_a_merchant_has_one_report_at_a_time_and_leaves_room_for_another"),
    _("a report has no time limit", REPORTS,
      'f"{REPORT_WITHIN_S * 1000:.0f}"', '"0"',
      f"{BOUNDS}::test_a_report_that_takes_too_long_is_ended"),
    _("reports use the connections of payments", "src/florin/reports/report_runner.py",
      "reads.over(self.database)", "reads",
      f"{BOUNDS}::test_the_routes_of_reports_use_the_connections_of_reports"),
    _("the cache of balances is not limited", REPORTS,
      "len(self._balances) > BALANCES_KEPT", "False",
      f"{BOUNDS}::test_the_balances_of_an_instant_are_kept_and_bounded"),
    _("one source uses all connections of the balancer", RULES,
      "  tcp-request connection reject if {{ sc0_conn_cur gt {each} }}\n", "",
      f"{CROWDS}::test_connections_are_limited_per_source"),
    _("the clients of a trusted proxy are counted as one source", RULES,
      "src,ipmask(32,64){unless_spared}", "src,ipmask(32,64)",
      f"{CROWDS}::test_trusted_proxies_are_not_counted"),
    _("idle connections are kept when the balancer is nearly full", RULES,
      "  http-after-response set-header Connection close if {{ var(txn.nearly_full) -m bool }}\n",
      "", f"{CROWDS}::test_a_connection_is_not_kept_when_it_is_nearly_full"),
    _("the operations port shares the public connection limit", BALANCER,
      "_SPARE_CONNECTIONS = 32", "_SPARE_CONNECTIONS = 0",
      f"{CROWDS}::test_the_operations_port_answers_while_the_public_one_is_full"),
    _("a forged position raises the alarm of lost writes", ROUTING,
      "        if ours:  # an unsigned position is not recorded and raises no alert\n",
      "        if given:\n",
      f"{INVENTED}::test_an_invented_position_is_not_stored"),
    _("the signature of a position is not checked", SIGNED,
      "any(hmac.compare_digest(each, given) for each in known)", "bool(given and [*known])",
      f"{INVENTED}::test_only_signed_positions_are_trusted"),
)  # fmt: skip
