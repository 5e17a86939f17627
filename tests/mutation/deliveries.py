"""Mutations of deliveries: once for each cause, repetitions, links, codes that were replaced."""

from tests.mutation.mutation import without as _

DELIVERY = "src/florin/deliveries/delivery.py"
SENDING = "src/florin/deliveries/sending.py"
LINKS = "src/florin/deliveries/card_links.py"
DELIVERING = "src/florin/cards/delivering.py"
FACTS = "src/florin/cards/page_facts.py"
COMPOSING = "src/florin/deliveries/composing.py"
_MAILS = "tests/deliveries/test_sending.py"
_API = "tests/deliveries/test_delivery_api.py"
_UNIT = "tests/deliveries/test_delivery.py"

_BOUNCES = "tests/deliveries/test_bounces.py"
_SMS = "tests/deliveries/test_sms.py"
_REPORTS = "src/florin/deliveries/sms_reports.py"

DELIVERIES = (
    _("a report of a message is not signed", _REPORTS,
      "    if not is_signed(", "    if False and not is_signed(",
      f"{_SMS}::test_a_card_arrives_by_its_link_and_its_reports_are_written"),
    _("a late report undoes a delivery", _REPORTS,
      "and d.state in ('sending', 'sent')", "and d.state in ('sending', 'sent', 'delivered')",
      f"{_SMS}::test_a_card_arrives_by_its_link_and_its_reports_are_written"),
    _("a report of the message before counts for the resend", _REPORTS,
      "d.generation = $3 and d.channel", "$3 > 0 and d.channel",
      f"{_SMS}::test_a_card_arrives_by_its_link_and_its_reports_are_written"),
    _("a report of an unknown outcome is dropped", _REPORTS,
      "and d.state in ('sending', 'sent')", "and d.state = 'sent'",
      f"{_SMS}::test_a_report_ends_a_message_whose_answer_was_lost"),
    _("a report of a mail server is not signed", "src/florin/deliveries/mail_reports.py",
      "        raise MailReportNotAuthentic\n", "        pass\n",
      f"{_BOUNCES}::test_a_report_that_is_not_authentic_changes_nothing"),
    _("an old report is believed", "src/florin/deliveries/mail_reports.py",
      "abs(time.time() - int(at)) > TOLERANCE_S", "False",
      f"{_BOUNCES}::test_a_report_that_is_not_authentic_changes_nothing"),
    _("a suppressed address gets a gift", SENDING,
      "if facts.suppressed is not None and", "if False and",
      f"{_BOUNCES}::test_an_address_that_bounced_gets_nothing_until_it_is_allowed_again"),
    _("a number that is dropped is accepted", "src/florin/cards/card_changes.py",
      "        refuse_phone(recipient)\n", "",
      f"{_SMS}::test_a_number_is_not_kept_without_its_delivery"),
    _("a repetition is not counted", SENDING,
      "d.repeated + (d.state = 'sending')::integer", "d.repeated",
      f"{_MAILS}::test_a_killed_worker_repeats_under_the_same_message_id"),
    _("each attempt has its own Message-ID", SENDING,
      ".{row['generation']}\"", ".{row['attempts']}\"",
      f"{_MAILS}::test_a_killed_worker_repeats_under_the_same_message_id"),
    _("a delivery that is being sent is not sent again", SENDING,
      "d.generation = $3 and d.state in ('due', 'sending')\nreturning d.*",
      "d.generation = $3 and d.state = 'due'\nreturning d.*",
      f"{_MAILS}::test_a_killed_worker_repeats_under_the_same_message_id"),
    _("an outage ends a delivery", SENDING,
      "if not failure.again or attempts >= ATTEMPTS:", "if failure:",
      f"{_MAILS}::test_an_outage_delays_and_a_refusal_ends"),
    _("a blocked card is sent", COMPOSING,
      "return f\"the card is {'expired' if self.over else self.card_state}\"", "return None",
      f"{_MAILS}::test_a_card_that_was_blocked_is_not_sent"),
    _("the mail of a reset leads to another page", COMPOSING,
      '"/reset?token="', '"/reset/"',
      "tests/deliveries/test_account_mails.py"
      "::test_each_mail_leads_to_the_page_that_uses_its_token"),
    _("messages of test merchants are late", "src/florin/deliveries/gauges.py",
      " and not m.test", "",
      f"{_UNIT}::test_the_gauges_show_what_is_due_and_for_how_long"),
    _("a token that is over is sent", COMPOSING,
      "if self.token_over:", "if False:",
      "tests/deliveries/test_account_mails.py::test_a_token_that_was_used_meanwhile_is_not_sent"),
    _("an empty card is reminded of", "src/florin/deliveries/reminders.py",
      "and a.balance > 0 and", "and",
      "tests/deliveries/test_reminders.py::test_each_reminder_is_made_once"),
    _("a card is reminded of before it was made", "src/florin/deliveries/reminders.py",
      "  and a.issued_at <= a.expires_at - make_interval(days => n.days)\n", "",
      "tests/deliveries/test_reminders.py::test_a_card_of_few_days_is_not_reminded_at_once"),
    _("a delivery for later is sent now", DELIVERY,
      "when $16 > n.now then 'waiting'", "when false then 'waiting'",
      f"{_UNIT}::test_a_delivery_for_later_has_no_job"),
    _("the second of two equal local times counts", DELIVERY,
      "select min(u)", "select ($1::timestamp at time zone $2) as min",
      f"{_UNIT}::test_local_times_across_changes_of_summer_time"),
    _("a link's code needs no token", LINKS,
      'b"card link\\0" + token.encode(), "sha256").hex()', 'b"card link", "sha256").hex()',
      f"{_UNIT}::test_the_row_and_the_keys_alone_do_not_open_a_link"),
    _("a revoked link keeps its code", LINKS,
      "set revoked_at = clock_timestamp(), sealed_code = null", "set revoked_at = null",
      f"{_UNIT}::test_revoked_links_are_unknown_and_their_codes_erased"),
    _("a page shows a code that was replaced", FACTS,
      "codes.code_hash(pepper.encode(), merchant, code) == code_hash", "True",
      f"{_API}::test_a_page_never_shows_a_code_that_was_replaced"),
    _("a new link leaves the older ones", DELIVERING,
      "revoked = await self.links.revoke_all(tx, merchant, card)", "revoked = 1",
      f"{_API}::test_a_new_link_revokes_the_older_ones"),
    _("a code is readable without end", DELIVERING,
      "case when c.sealed_until > clock_timestamp() then c.sealed_code end", "c.sealed_code",
      f"{_API}::test_after_a_day_a_link_needs_a_new_code"),
    _("a resend uses a link that was revoked", DELIVERING,
      "or token is None or not await self.links.is_open(tx, token)", "or token is None",
      f"{_API}::test_a_resend_uses_its_link_until_that_is_revoked"),
)  # fmt: skip
