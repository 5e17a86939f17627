"""Mutations of the operator process: what the page shows, and how alerts are delivered."""

from tests.mutation.mutation import without as _

PAGE = "src/florin/ops/operator_page"
ALERTING = "src/florin/ops/alerting"
TESTS = "tests/ops/operator_page"
DISPATCHER, DISPATCHED = f"{ALERTING}/dispatcher.py", "tests/ops/alerting/test_dispatcher.py"
PLAN, PLANNED = f"{ALERTING}/delivery_plan.py", "tests/ops/alerting/test_alert_states.py"
RECEIVERS, RECEIVED = f"{ALERTING}/receivers.py", "tests/ops/alerting/test_receivers.py"
HISTORY = f"{ALERTING}/metric_history.py"

OPERATOR = (
    _("the operator page shows text of the fleet as markup", f"{PAGE}/page.py",
      "autoescape=True", "autoescape=False",
      f"{TESTS}/test_page.py::test_what_comes_from_the_fleet_is_text_and_never_markup"),
    _("the operator page serves any file", f"{PAGE}/runbooks.py",
      "or not _NAME.fullmatch(name)", "",
      f"{TESTS}/test_page.py::test_only_runbooks_are_served"),
    _("old readings are findings of now", f"{PAGE}/summary.py",
      '    if state.ages["queues"].old:\n        return\n', "",
      f"{TESTS}/test_summary.py::test_old_readings_are_no_findings_of_now"),
    _("few answers are a share of errors", f"{PAGE}/summary.py",
      "if enough and traffic", "if traffic",
      f"{TESTS}/test_summary.py::test_few_answers_are_no_share_of_errors"),
    _("the operator page accepts other methods", f"{PAGE}/server.py",
      'if scope["method"] not in {"GET", "HEAD"}:', "if False:",
      f"{TESTS}/test_operator_process.py::test_it_changes_nothing_and_serves_nothing_else"),
    _("the mailbox starts in production", "src/florin/ops/mailbox/main.py",
      'if environment == "production":', "if False:",
      "tests/ops/mailbox/test_mailbox_process.py::test_it_does_not_start_in_production"),
    _("a fleet of production keeps its mails", "src/florin/ops/fleet/options.py",
      "and not production and", "and",
      "tests/ops/topology/test_fleet_spec.py"
      "::test_mails_are_kept_outside_production_if_no_mail_server_is_named"),
    _("any file is a kept mail", "src/florin/ops/mailbox/kept_mails.py",
      "        if not _ID.fullmatch(name):\n            return None\n", "",
      "tests/ops/mailbox/test_kept_mails.py::test_other_names_are_no_mails"),
    _("mails are kept for ever", "src/florin/ops/mailbox/kept_mails.py",
      "names[self._most - 1 :]", "names[:0]",
      "tests/ops/mailbox/test_kept_mails.py"
      "::test_the_list_is_newest_first_and_old_mails_are_removed"),
    _("scripts of mails run on the operator page", f"{PAGE}/mailbox_view.py",
      "MailboxPage(html.encode(), _MAIL_POLICY)", "MailboxPage(html.encode(), None)",
      f"{TESTS}/test_operator_process.py"
      "::test_a_card_that_is_issued_is_mailed_and_read_in_the_mailbox"),
    _("the operator process gets the keys of money",
      "src/florin/ops/topology/operator_process.py", "environ = {**hidden, ", "environ = {",
      f"{TESTS}/test_operator_process.py"
      "::test_it_runs_as_an_ordinary_user_without_the_keys_of_money"),
    _("the operator process runs as root", "src/florin/ops/topology/topology.py",
      "            account=self.account,\n            folder", "            folder",
      f"{TESTS}/test_operator_process.py"
      "::test_it_runs_as_an_ordinary_user_without_the_keys_of_money"),
    _("the operator process trusts the recorded pids", f"{PAGE}/observer.py",
      "self.fleet = check_processes(self.facts.value.fleet)",
      "self.fleet = self.facts.value.fleet",
      f"{TESTS}/test_operator_process.py"
      "::test_it_is_up_while_every_instance_the_database_and_the_supervisor_are_dead"),
    _("an alert is forgotten by a restart", DISPATCHER, "        self.book.load()\n", "",
      f"{DISPATCHED}::test_a_restart_loses_no_alert_and_sends_none_twice"),
    _("a condition that fails ends the evaluation", DISPATCHER,
      "violations |= _find(condition, values)",
      "violations[condition.name] = condition.find(values)",
      f"{DISPATCHED}::test_a_condition_that_fails_ends_neither_the_others_nor_the_process"),
    _("missing metrics end an alert", DISPATCHER,
      "            if recent:\n", "            if True:\n",
      f"{DISPATCHED}::test_old_collections_end_no_alert"),
    _("a silence is ignored", DISPATCHER,
      "or self.orders.silenced(alert.key, now)", "or False",
      f"{DISPATCHED}::test_a_silenced_alert_is_sent_when_the_silence_ends"),
    _("a test is sent again and again", DISPATCHER,
      "and receiver.name not in self.tests.get(wanted, {})", "",
      f"{DISPATCHED}::test_a_test_reaches_every_receiver_and_shows_their_answers"),
    _("a failed delivery is not tried again", PLAN,
      "    if now < known.due:\n", "    if known.tries:\n",
      f"{DISPATCHED}::test_an_alert_is_kept_while_a_receiver_is_away_and_delays_no_other"),
    _("a failed delivery is tried again at once", PLAN,
      "    if now < known.due:\n", "    if False:\n", PLANNED),
    _("an alert is sent again at each evaluation", PLAN,
      "if now >= known.sent + repeat_delay(known.repeats):", "if True:", PLANNED),
    _("the end of an alert is sent again and again", PLAN,
      'if alert.state == "resolved" and not known.ended:', 'if alert.state == "resolved":',
      PLANNED),
    _("what is over wakes someone", PLAN,
      'if known.tries and receiver != "pagerduty":', "if known.tries:", PLANNED),
    _("a ticket wakes someone", PLAN,
      "    if alert.severity not in SEVERITIES[receiver]:\n        return None\n", "", PLANNED),
    _("a symptom is sent like its cause", f"{ALERTING}/alert_states.py",
      "if each.name in symptoms)", "if False)", PLANNED),
    _("an alert fires at its first violation", f"{ALERTING}/alert_states.py",
      "now - alert.since >= condition.for_s", "True", PLANNED),
    _("an alert ends at the first quiet evaluation", f"{ALERTING}/alert_states.py",
      "    if now - alert.seen < condition.keep_s:\n        return [alert]\n", "", PLANNED),
    _("Slack formats the text of an alert", RECEIVERS,
      'return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")',
      "return text", f"{RECEIVED}::test_slack_gets_text_that_no_alert_can_format"),
    _("a repeated attempt is another mail", RECEIVERS,
      ".get(self.name, AlertDelivery()).repeats}", ".get(self.name, AlertDelivery())}",
      f"{RECEIVED}::test_a_repeated_attempt_has_the_same_message_id"),
    _("a password of the mail server is sent unencrypted",
      "src/florin/kit/settings/validation.py",
      '    if plain and "SMTP_PASSWORD" in given:\n', "    if False:\n",
      f"{RECEIVED}::test_a_wrong_setting_is_refused"),
    _("the restart of a process is an increase", HISTORY,
      "if value >= before else value", "if value >= before else 1e9",
      "tests/ops/alerting/test_metric_history.py"
      "::test_a_process_that_restarts_counts_from_zero"),
    _("the first sample of a series is an increase", HISTORY,
      "increase = 0.0 if before is None else", "increase = value if before is None else",
      "tests/ops/alerting/test_metric_history.py"
      "::test_the_first_sample_of_a_series_is_no_increase"),
)  # fmt: skip
