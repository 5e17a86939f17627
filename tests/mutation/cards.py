"""Cards: mutants that remove the guards of dates, limits, batches, imports and exports."""

from tests.mutation.mutation import without as _

POST = "src/florin/ledger/post.sql"
ISSUE = "src/florin/ledger/issue.sql"
CHANGES = "tests/cards/api/test_card_changes.py"
BATCH = "src/florin/cards/jobs/batch_change.py"
BATCHES = "tests/cards/jobs/test_batch_change.py"
VALUES = "src/florin/cards/jobs/import_values.py"
VALUE_TESTS = "tests/cards/jobs/test_import_values.py"
EXPORTS = "tests/cards/jobs/test_import_exports.py"

_INDEXES = "src/florin/migrations/0035_expand_references_concurrently.sql"
_REFERENCES = "tests/cards/api/test_references.py"

CARDS = (
    _("two cards have one reference", _INDEXES,
      "create unique index concurrently if not exists card_by_reference",
      "create index concurrently if not exists card_by_reference",
      f"{_REFERENCES}::test_of_two_requests_at_once_one_gets_the_reference"),
    _("two orders have one reference", _INDEXES,
      "create unique index concurrently if not exists orders_by_reference",
      "create index concurrently if not exists orders_by_reference",
      f"{_REFERENCES}::test_of_two_requests_at_once_one_gets_the_reference"),
    _("a search for a recipient reads all cards", "src/florin/cards/listing.py",
      "    elif only.recipient is not None:\n", "    elif False:\n",
      "tests/ledger/test_list_plans.py::test_a_list_reads_about_what_it_shows"),
    _("a repeated request makes another link to the card", "src/florin/cards/references.py",
      "        if not issued.recalled:\n", "        if True:\n",
      f"{_REFERENCES}::test_a_repeated_request_makes_no_second_link"),
    _("a payment may exceed the limit of its program", POST,
      "elsif take > c_payment[c] then", "elsif false then",
      f"{CHANGES}::test_a_payment_takes_at_most_what_the_program_allows"),
    _("a card may be loaded above the limit of its program", POST,
      "case when kind in ('load', 'adjust') then c_most[c] end)", "null::bigint)",
      f"{CHANGES}::test_a_card_holds_at_most_what_the_program_allows"),
    _("a transfer may exceed the limit of its program", POST,
      "+ take > least(9000000000000000, c_most[d])) then", "+ take > 9000000000000000) then",
      f"{CHANGES}::test_a_card_holds_at_most_what_the_program_allows"),
    _("a card may be issued with a date in the past", ISSUE,
      "when i.expires <= m.at or i.expires", "when i.expires",
      f"{CHANGES}::test_a_date_may_be_given_at_issue"),
    _("an extension may shorten the life of a card", POST,
      "or item.until < c_expires[c]\n", "\n",
      f"{CHANGES}::test_a_card_is_extended_once_with_its_reason"),
    _("a pending card is activated after its date", POST,
      "elsif st = 'pending' and c_expires[c] <= now_here then", "elsif false then",
      f"{CHANGES}::test_a_pending_card_whose_date_has_passed_is_not_activated"),
    _("money is put onto a blocked card by an owner", POST,
      "and (item.op = 'transfer' or take < 0) then", "then",
      "tests/cards/api/test_blocked_money.py"
      "::test_an_owner_takes_the_money_and_the_card_stays_blocked"),
    _("a manager takes money from a blocked card", "src/florin/cards/api/transactions.py",
      'if caller.role != "owner":', "if False:",
      "tests/cards/api/test_blocked_money.py::test_others_do_not"),
    _("a cancelled job goes on", "src/florin/cards/jobs/bulk_issue.py",
      'if row is not None and row["state"] == "finished":', "if False:",
      f"{BATCHES}::test_a_running_job_is_stopped_at_an_exact_number"),
    _("cards of a running job are changed", BATCH,
      'if row["state"] != "finished":', "if False:",
      f"{BATCHES}::test_a_change_needs_a_finished_job_with_cards"),
    _("a card that is locked by a request is left out", BATCH,
      'if "busy" in outcomes:', "if False:",
      f"{BATCHES}::test_a_card_in_use_is_changed_when_it_is_free"),
    _("an interrupted batch begins at its first card again", BATCH,
      "and (c.issued_at, c.id) > ($3, $4)", "and ($3::timestamptz, $4::uuid) is not null",
      f"{BATCHES}::test_a_killed_worker_changes_each_card_once"),
    _("a thousand is read as three decimals", VALUES,
      "len(rest) == _GROUP != digits", "len(rest) == -1 != digits",
      f"{VALUE_TESTS}::test_an_amount_that_may_be_two_is_refused"),
    _("a date that may be two days is guessed", VALUES,
      "if dates is None and first != second", "if False and first != second",
      f"{VALUE_TESTS}::test_a_wrong_date_is_refused"),
    _("an expired card is imported", VALUES, "    if at <= now:\n", "    if False:\n",
      f"{VALUE_TESTS}::test_a_wrong_date_is_refused"),
    _("of two columns that mean the same one is taken", "src/florin/cards/jobs/import_columns.py",
      "            if rank == before:\n", "            if False:\n",
      f"{EXPORTS}::test_columns_that_may_mean_the_same_are_refused"),
    _("a short code may be guessed as often as a long one", "src/florin/cards/code_guessing.py",
      "codes.LENGTH else SHORT_WEIGHT", "codes.LENGTH else 1",
      "tests/cards/test_imported_codes.py::test_a_short_wrong_code_counts_five_times"),
    _("codes of other systems are looked up for everyone", "src/florin/cards/imported_codes.py",
      'accepts = row is not None and bool(row["accepts"])', "accepts = row is not None",
      "tests/cards/test_imported_codes.py"
      "::test_a_merchant_without_such_programs_is_not_concerned"),
)  # fmt: skip
