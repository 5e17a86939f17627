"""Mutations of jobs: downloads of codes, audit records and quotas."""

from tests.mutation.mutation import without as _

EXPORT = "src/florin/cards/jobs/code_export.py"
BULK = "tests/cards/jobs/test_bulk_issue.py"
ACCEPTANCE = "tests/cards/jobs/test_job_acceptance.py"
RECORDS = "tests/cards/jobs/test_csv_records.py"
SPLITTER = "src/florin/cards/jobs/csv_records.py"
PARSER = "src/florin/cards/jobs/import_parser.py"
VALUES = "src/florin/cards/jobs/import_values.py"
ACCOUNTABILITY = "tests/cards/api/test_accountability.py"
QUOTAS = "tests/cards/api/test_quotas.py"
_REPEATED = f"{BULK}::test_an_interrupted_download_is_repeated_by_its_principal_only"
_LOST = f"{BULK}::test_a_replaced_download_changes_nothing"

JOBS = (
    _("any principal repeats a broken download", EXPORT,
      "codes = 'downloading' and download_actor = $3 and downloading_until", "codes = 'downloading'"
      " and downloading_until",
      _REPEATED),
    _("one principal runs two downloads at once", EXPORT,
      "download_actor = $3 and downloading_until <= clock_timestamp()", "download_actor = $3",
      _REPEATED),
    _("a download that lost its lease deletes the codes", EXPORT,
      "and codes = 'downloading' and download_number = $3\nfor no key update",
      "and $3 > 0\nfor no key update",
      f"{BULK}::test_a_lost_download_erases_nothing"),
    _("a download that lost its lease continues", EXPORT,
      "codes = 'downloading' and download_number = $3 returning id\n\"\"\"\n# A failed",
      '$3 > 0 returning id\n"""\n# A failed',
      f"{BULK}::test_a_lost_download_sends_no_further_codes"),
    _("a download that lost its lease releases another one", EXPORT,
      "codes = 'downloading' and download_number = $3 returning id\n\"\"\"\n\n#",
      "codes = 'downloading' and $3 > 0 returning id\n\"\"\"\n\n#",
      _LOST),
    _("the start of a download is not audited", EXPORT,
      '            await _record(tx, by, job, "codes.download_began",'
      ' row["download_number"], row["cards"])\n', "            pass\n",
      _REPEATED),
    _("changes of a card are not audited", "src/florin/ledger/post.sql",
      "any_audit := any_audit or happened is not null;", "null;",
      f"{ACCOUNTABILITY}::test_changes_of_a_card_are_in_the_audit_log"),
    _("an event caused by time names an actor", "src/florin/ledger/post.sql",
      "e_actor := e_actor || 'florin'::text;", "e_actor := e_actor || p_actor[1];",
      f"{ACCOUNTABILITY}::test_events_caused_by_time_have_the_actor_florin"),
    _("an interrupted retention run counts as done", "src/florin/cards/jobs/retention.py",
      "        await asyncio.sleep(_PAUSE_S)\n    return Continue()\n",
      "        await asyncio.sleep(_PAUSE_S)\n    return None\n",
      "tests/cards/jobs/test_retention.py::test_a_stopped_scan_of_the_keys_is_repeated"),
    _("a merchant may have any number of open jobs", "src/florin/ledger/quotas.sql",
      ">= quota_limit(p_merchant, 'open_jobs') then", "< 0 then",
      f"{QUOTAS}::test_the_quota_of_open_jobs_holds_for_concurrent_requests"),
    _("concurrent jobs are not counted together", "src/florin/ledger/quotas.sql",
      "  perform from merchant m where m.id = p_merchant for no key update;\n", "",
      f"{QUOTAS}::test_the_quota_of_open_jobs_holds_for_concurrent_requests"),
    _("jobs do not count against the quota of cards", "src/florin/ledger/quotas.sql",
      "if p_cards > cards_left(p_merchant) then", "if false then",
      f"{QUOTAS}::test_the_daily_quota_counts_single_bulk_and_imported_cards"),
    _("single cards do not count against the quota", "src/florin/ledger/issue.sql",
      "> q_left[array_position(q_merchant, i.m)] then 'quota_exceeded'",
      "< 0 then 'quota_exceeded'",
      f"{QUOTAS}::test_the_daily_quota_counts_single_bulk_and_imported_cards"),
    _("codes that were made while a download ends are erased", EXPORT,
      'where merchant = $1 and job = $2 and part_number <= $3"',
      'where merchant = $1 and job = $2 and part_number <= $3 or true"',
      f"{ACCEPTANCE}::test_codes_made_while_a_download_ends_are_kept"),
    _("the codes of a job that failed cannot be taken", EXPORT,
      "(state = 'finished' or {jobs.FAILED})", "state = 'finished'",
      f"{ACCEPTANCE}::test_a_job_that_failed_says_why_and_its_codes_can_be_taken"),
    _("codes made after others were taken do not wait", "src/florin/cards/jobs/bulk_issue.py",
      "case codes when 'taken' then 'waiting' else codes end", "codes",
      f"{ACCEPTANCE}::test_a_job_that_failed_says_why_and_its_codes_can_be_taken"),
    _("a job shows an internal error", "src/florin/cards/jobs/job.py",
      "found.group(1) if found else _INTERNAL", "error or ''",
      f"{ACCEPTANCE}::test_an_internal_error_is_not_shown"),
    _("limits changed since count for a job", "src/florin/ledger/issue.sql",
      "when i.m = accepted.merchant and (accepted.kind", "when false and (accepted.kind",
      f"{ACCEPTANCE}::test_limits_changed_since_do_not_concern_what_was_accepted"),
    _("a job is an excuse for other amounts", "src/florin/ledger/issue.sql",
      "i.program = accepted.program and i.amount = accepted.amount", "true",
      f"{ACCEPTANCE}::test_a_job_issues_only_its_accepted_amounts"),
    _("a finished job is an excuse for amounts", "src/florin/ledger/issue.sql",
      "and j.amounts_accepted and j.state <> 'finished'", "and j.amounts_accepted",
      f"{ACCEPTANCE}::test_a_job_issues_only_its_accepted_amounts"),
    _("a file's amounts are not held to the limits", PARSER,
      "        if amount > facts.max_amount:\n", "        if False:\n",
      f"{ACCEPTANCE}::test_limits_changed_since_do_not_concern_what_was_accepted"),
    _("a record is not bounded", SPLITTER,
      "if self._size + more <= RECORD_MAX:", "if more <= RECORD_MAX:",
      f"{RECORDS}::test_a_record_is_bounded"),
    _("a quoted line break ends a record", SPLITTER,
      "return [] if is_open else [self._closed()]", "return [self._closed()]",
      f"{RECORDS}::test_a_line_break_in_a_name_is_one_space"),
    _("a row without values is a card", PARSER,
      "                    part.count -= 1\n", "",
      f"{RECORDS}::test_rows_without_values_are_refused_and_are_no_cards"),
    _("a message repeats what may be a code", VALUES,
      'return "what is there" if may_be_secret(text) else shown(text)', "return shown(text)",
      f"{RECORDS}::test_a_wrong_amount_is_shown_with_what_is_expected"),
)  # fmt: skip
