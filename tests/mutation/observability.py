"""Mutations of observability: logs, traces, error reports and the audit."""

from tests.mutation.mutation import without as _

ROTATION = "src/florin/ops/logs/rotation.py"
READING = "src/florin/ops/logs/reading.py"
OUTPUT = "src/florin/kit/observability/log_output.py"
LOGGING = "src/florin/kit/observability/logging.py"
ROTATED = "tests/ops/logs/test_rotation.py"
WRITTEN = "tests/kit/observability/test_log_output.py"
LOGGED = "tests/kit/observability/test_logging.py"

TRACING = "src/florin/kit/observability/tracing.py"
EXPORT = "src/florin/kit/observability/trace_export.py"
REPORTS = "src/florin/kit/observability/error_reports.py"
RECORDS = "src/florin/kit/observability/request_records.py"
SEALS = "src/florin/identity/audit_seals.py"
SEAL = "src/florin/identity/audit_seal.sql"
LINES = "src/florin/ops/fleet/audit_seals.py"
TRACED = "tests/kit/observability/test_tracing.py"
REPORTED = "tests/kit/observability/test_error_reports.py"
SEALED = "tests/identity/test_audit_seals.py"
LINES_SEALED = "tests/ops/fleet/test_audit_seals.py"
EVENTS = "src/florin/ops/alerting/change_events.py"
SENT = "tests/ops/alerting/test_dispatcher.py"
SEALING = "tests/ops/lifecycle/test_audit_sealing.py"

OBSERVABILITY = (
    _("a rotation truncates the log of a part that writes", ROTATION,
      "            if not _remove_start(file.fileno(), end):\n",
      "            _remove_start(file.fileno(), end)\n            if True:\n",
      f"{ROTATED}::test_no_line_is_lost_or_split_while_a_process_writes"),
    _("the rest of an archived line stays in the log", ROTATION,
      "    if end > removed:\n", "    if False:\n",
      f"{ROTATED}::test_no_line_is_lost_or_split_while_a_process_writes"),
    _("archives are kept without limit", ROTATION,
      "_remove_archives(log, limits.kept)", "_remove_archives(log, 10_000)",
      f"{ROTATED}::test_only_as_many_archives_are_kept_as_allowed"),
    _("a rotation does not wait for a reader", ROTATION,
      "            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "",
      f"{ROTATED}::test_a_reader_in_the_middle_of_a_read_postpones_the_rotation"),
    _("a follower ignores a rotation", READING,
      "            if _identity(path) == self._archived:\n", "            if True:\n",
      f"{ROTATED}::test_without_collapse_the_file_is_copied_and_truncated"),
    _("log lines wait without limit", OUTPUT,
      "if len(self._lines) >= LINES_MAX:", "if False:",
      f"{WRITTEN}::test_lines_wait_in_memory_while_no_one_reads_and_some_are_dropped_and_counted"),
    _("a full disk fails the request that is logged", OUTPUT,
      "        except OSError:  # a full disk", "        except BlockingIOError:  # a full disk",
      f"{WRITTEN}::test_a_full_disk_is_counted_and_raises_nothing"),
    _("an uncaught exception is printed with its values", LOGGING,
      "    sys.excepthook = _log_uncaught\n", "",
      f"{LOGGED}::test_errors_and_libraries_log_the_same_json"),
    _("a request that its caller does not trace is traced", TRACING,
      "        sampled = parent.sampled\n", "        sampled = True\n",
      f"{TRACED}::test_the_caller_decides_what_is_traced"),
    _("a caller decides although it is not followed", TRACING,
      "if parent is not None and _Sampling.follows_caller:", "if parent is not None:",
      f"{TRACED}::test_florin_alone_decides_where_callers_are_not_followed"),
    _("a call of the ledger has no links", TRACING,
      "parent=causes[0], links=causes)", "parent=causes[0])",
      f"{TRACED}::test_a_call_of_the_ledger_is_linked_to_its_requests"),
    _("spans wait without a count of the dropped", EXPORT,
      "            if self.added - counting.taken >= QUEUE_MAX:\n", "            if False:\n",
      f"{TRACED}::test_a_collector_that_does_not_answer_costs_spans_not_requests"),
    _("a caller's own request id leaves with a span", RECORDS,
      'if _OWN_REQUEST_ID.fullmatch(event["request_id"]):', "if True:",
      f"{TRACED}::test_the_caller_decides_what_is_traced"),
    _("an error report has any text", REPORTS,
      "    if not isinstance(value, str) or not _TEXT.fullmatch(value) or"
      " redaction.looks_secret(value):\n",
      "    if not isinstance(value, str):\n",
      f"{REPORTED}::test_a_text_that_is_not_allowed_stops_the_event"),
    _("an error report has every field of the log line", REPORTS,
      "for name in _TAGS if isinstance(fields.get(name), str)",
      "for name in fields if isinstance(fields.get(name), str)",
      f"{REPORTED}::test_an_event_has_types_places_and_ids_and_no_values"),
    _("an exemplar names a trace that no one has", RECORDS,
      "sampled = trace if trace is not None and trace.span is not None else None",
      "sampled = trace",
      f"{TRACED}::test_a_bucket_names_the_trace_of_a_sampled_request"),
    _("error reports are not limited", REPORTS,
      "return self._reported <= REPORTS_PER_MINUTE", "return True",
      f"{REPORTED}::test_a_storm_of_errors_is_limited"),
    _("a changed audit record is not compared", SEALS,
      '        elif _content(row) != row["content"]:\n', "        elif False:\n",
      f"{SEALED}::test_a_changed_record_is_named"),
    _("noted checkpoints are not compared", SEALS,
      "            if hashes.get(number) != noted:\n", "            if False:\n",
      f"{SEALED}::test_a_history_written_again_with_its_seals_differs_from_what_was_noted"),
    _("a seal does not depend on the one before it", SEALS,
      'hashlib.sha256(before + row["content"])', 'hashlib.sha256(row["content"])',
      f"{SEALED}::test_what_was_sealed_is_intact"),
    _("a backlog of audit records is sealed in part", SEAL,
      "last.complete then", "last.number > 0 then",
      f"{SEALED}::test_a_backlog_is_sealed_in_parts_and_nothing_is_missed"),
    _("seals can be changed", "src/florin/migrations/0008_expand_audit_seals.sql",
      "before update or delete or truncate on audit_seal\n", "before truncate on audit_seal\n",
      f"{SEALED}::test_neither_role_changes_the_audit_or_its_seals"),
    _("the order of the fleet's operations is not compared", LINES,
      "        if before != after:\n", "        if False:\n",
      f"{LINES_SEALED}::test_a_change_is_found"),
    _("the supervisor notes no checkpoint", "src/florin/ops/lifecycle/audit_sealing.py",
      "        if passed % NOTE_EVERY == 0:\n", "        if False:\n",
      f"{SEALING}::test_new_lines_are_sealed_and_the_checkpoint_is_noted"),
    _("an event of a deployment is sent again", EVENTS,
      "known is not None and not known.sent and", "known is not None and",
      f"{SENT}::test_every_receiver_gets_a_deployment_once_also_after_a_restart"),
    _("what happened before the first start is sent", EVENTS,
      "if self._first_at is None or each.at >= self._first_at", "if True",
      f"{SENT}::test_what_happened_before_the_first_start_or_long_ago_is_not_sent"),
    _("an event is sent days later", EVENTS,
      "if waits and now - each.at < GIVEN_UP_S:", "if waits:",
      f"{SENT}::test_what_happened_before_the_first_start_or_long_ago_is_not_sent"),
    _("a receiver that is set later gets old events", EVENTS,
      "known = each.deliveries.get(receiver)\n",
      "known = each.deliveries.get(receiver, AlertDelivery())\n",
      f"{SENT}::test_a_receiver_that_is_set_later_gets_no_earlier_event"),
    _("a receiver that is away loses an event", EVENTS.replace("change_events", "dispatcher"),
      "lambda known: after_failure(known, str(error), now, wait_s=error.wait_s),\n        )\n\n"
      "    async def _test", 'lambda known: after_success(known, "firing", now),\n        )\n\n'
      "    async def _test",
      f"{SENT}::test_an_event_waits_for_a_receiver_that_is_away_and_delays_no_other"),
)  # fmt: skip
