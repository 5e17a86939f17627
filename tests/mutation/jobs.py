"""Jobs: guards of the codes that jobs make, and of who did what."""

from tests.mutation.mutation import without as _

EXPORT = "src/florin/cards/jobs/code_export.py"
BULK = "tests/cards/jobs/test_bulk_issue.py"
ACCOUNTABILITY = "tests/cards/api/test_accountability.py"
QUOTAS = "tests/cards/api/test_quotas.py"
_REPEATED = f"{BULK}::test_a_download_that_was_cut_off_is_repeated_by_its_principal_alone"
_LOST = f"{BULK}::test_a_download_that_lost_its_place_changes_nothing"

JOBS = (
    _("a download that was cut off is repeated by anyone", EXPORT,
      "codes = 'downloading' and download_actor = $3 and downloading_until", "codes = 'downloading'"
      " and downloading_until",
      _REPEATED),
    _("two downloads of one principal at once", EXPORT,
      "download_actor = $3 and downloading_until <= clock_timestamp()", "download_actor = $3",
      _REPEATED),
    _("a download that lost its place takes the codes", EXPORT,
      "update florin.job set codes = 'taken', downloading_until = null\n"
      "where merchant = $1 and id = $2 and codes = 'downloading' and download_number = $3",
      "update florin.job set codes = 'taken', downloading_until = null\n"
      "where merchant = $1 and id = $2 and $3 > 0",
      f"{BULK}::test_a_lost_download_erases_nothing"),
    _("a download that lost its place goes on", EXPORT,
      "codes = 'downloading' and download_number = $3 returning id\n\"\"\"\n_TAKEN",
      '$3 > 0 returning id\n"""\n_TAKEN',
      f"{BULK}::test_a_lost_download_sends_no_further_codes"),
    _("a download that lost its place lets others begin", EXPORT,
      "codes = 'downloading' and download_number = $3 returning id\n\"\"\"\n\n#",
      "codes = 'downloading' and $3 > 0 returning id\n\"\"\"\n\n#",
      _LOST),
    _("the beginning of a download is not in the audit", EXPORT,
      '            await _record(tx, by, job, "codes.download_began",'
      ' row["download_number"], row["total"])\n', "            pass\n",
      _REPEATED),
    _("what is done to a card is not in the audit", "src/florin/ledger/post.sql",
      "any_audit := any_audit or happened is not null;", "null;",
      f"{ACCOUNTABILITY}::test_what_is_done_to_a_card_is_in_the_audit"),
    _("an event that time caused names who found it", "src/florin/ledger/post.sql",
      "e_actor := e_actor || 'florin'::text;", "e_actor := e_actor || p_actor[1];",
      f"{ACCOUNTABILITY}::test_what_time_does_names_florin"),
    _("a walk that was stopped counts as done", "src/florin/cards/jobs/retention.py",
      "        await asyncio.sleep(_PAUSE_S)\n    return Continue()\n",
      "        await asyncio.sleep(_PAUSE_S)\n    return None\n",
      "tests/cards/jobs/test_retention.py::test_a_walk_over_the_keys_that_is_stopped_comes_again"),
    _("a merchant may have any number of open jobs", "src/florin/ledger/quotas.sql",
      ">= florin.quota_limit(p_merchant, 'open_jobs') then", "< 0 then",
      f"{QUOTAS}::test_open_jobs_however_many_come_at_once"),
    _("jobs that are asked for at once do not see each other", "src/florin/ledger/quotas.sql",
      "  perform from merchant m where m.id = p_merchant for no key update;\n", "",
      f"{QUOTAS}::test_open_jobs_however_many_come_at_once"),
    _("jobs have no quota of cards", "src/florin/ledger/quotas.sql",
      "if p_cards > florin.cards_left(p_merchant) then", "if false then",
      f"{QUOTAS}::test_cards_a_day_whichever_way_they_are_made"),
    _("single cards have no quota", "src/florin/ledger/issue.sql",
      "> q_left[array_position(q_merchant, i.m)] then 'quota_exceeded'",
      "< 0 then 'quota_exceeded'",
      f"{QUOTAS}::test_cards_a_day_whichever_way_they_are_made"),
)  # fmt: skip
