"""Mutations of cash-outs, the law of places, withdrawals, bulk orders, payouts."""

from tests.mutation.mutation import without as _

POST = "src/florin/ledger/post.sql"
LAW = "src/florin/merchants/law/program_law.py"
CASH_OUTS = "tests/cards/api/test_cash_outs.py"
LAWS = "tests/merchants/test_law.py"
PAYOUTS = "src/florin/ledger/payouts.sql"
VAT = "tests/reports/test_vat.py"
SETTLED = "tests/orders/test_payouts.py"
BULK = "tests/orders/test_bulk_orders.py"
_BULK = f"{BULK}::test_one_payment_buys_a_card_for_each_recipient"
_REFUSED = f"{LAWS}::test_production_refuses_what_the_law_does_not_allow"

LAW_MUTATIONS = (
    _("a card above the limit is paid out in cash", POST,
      "        if c_balance[c] > coalesce(item.most, 0) then", "        if false then",
      f"{CASH_OUTS}::test_california_pays_less_than_15_dollars"),
    _("held money does not count for the limit of a cash-out", POST,
      "        if c_balance[c] > coalesce(item.most, 0) then",
      "        if free > coalesce(item.most, 0) then",
      f"{CASH_OUTS}::test_what_a_hold_reserves_is_part_of_the_balance"),
    _("held money is paid out in cash", POST, "        take := coalesce(take, free);\n",
      "        take := coalesce(take, c_balance[c]); free := c_balance[c];\n",
      f"{CASH_OUTS}::test_what_a_hold_reserves_is_part_of_the_balance"),
    _("a cash-out needs no PIN", POST,
      "\n          or item.op = 'cash-out' and item.code is not null)", ")",
      f"{CASH_OUTS}::test_a_cashier_needs_the_card_in_hand"),
    _("a cash-out takes the code of another card", POST,
      "(item.card is null or item.op = 'cash-out')\n        and c_code", "item.card is null\n"
      "        and c_code", f"{CASH_OUTS}::test_a_cashier_needs_the_card_in_hand"),
    _("a cash-out is not audited", POST, "'reinstate', 'extend', 'cash-out')",
      "'reinstate', 'extend')", f"{CASH_OUTS}::test_a_cashier_needs_the_card_in_hand"),
    _("production accepts what the law does not allow", LAW,
      "    if not scope.enforced or scope.override is not None:\n", "    if True:\n", _REFUSED),
    _("a test merchant comes under the law", "src/florin/merchants/programs.py",
      'in_production and not home["test"]', "in_production", _REFUSED),
    _("what was accepted is refused at the next change", LAW,
      "    if before is not None:\n", "    if False:\n", _REFUSED),
    _("a withdrawal is accepted after its period", "src/florin/orders/refunding.py",
      '    if row["now"] >= until:\n', "    if False:\n",
      "tests/orders/test_withdrawal.py::test_after_the_period_it_is_refused"),
    _("a bulk order in progress is refunded", "src/florin/orders/refunds.py",
      '    if found is not None and found["state"] == "paid":\n', "    if False:\n", _BULK),
    _("disputes do not wait for the cards of a bulk order", "src/florin/orders/settlement.py",
      '        if order["state"] == "paid":\n', "        if False:\n",
      f"{BULK}::test_a_dispute_waits_for_the_cards_and_then_blocks_them"),
    _("no look follows the cards of a bulk order", "src/florin/orders/bulk/fulfilment.py",
      '                await enqueue(tx, look_job(merchant, payment, cause="fulfilled"))\n', "",
      f"{BULK}::test_a_dispute_waits_for_the_cards_and_then_blocks_them"),
    _("the cards of a bulk order are issued again", "src/florin/orders/bulk/fulfilment.py",
      '            if row is None or row["state"] != "paid":\n', "            if row is None:\n",
      "tests/cards/jobs/test_job_types.py"),
    _("a list with invalid lines is ordered", "src/florin/orders/bulk/placing.py",
      "    if errors:\n", "    if False:\n",
      f"{BULK}::test_every_invalid_line_is_named_before_anything_is_ordered"),
    _("a top-up above the card's limit is paid", "src/florin/orders/batches/pricing.py",
      '    if row["max_balance"] is not None and', "    if False and",
      f"{BULK}::test_a_top_up_is_checked_before_it_is_paid"),
    _("two payouts of a merchant do not wait for each other", PAYOUTS,
      "  on conflict (merchant, currency) do update set payouts = s.payouts + 1;",
      "  on conflict (merchant, currency) do nothing;",
      f"{SETTLED}::test_batches_at_once_pay_once"),
    _("a disputed payment is paid out", PAYOUTS, "        and d.state = 'open')\n",
      "        and false)\n", f"{SETTLED}::test_what_is_not_certain_waits"),
    _("a commission is kept twice", PAYOUTS, "and c.kind = 'commission')", "and false)",
      f"{SETTLED}::test_what_was_collected_is_paid_out_once"),
    _("a payout is undone twice", "src/florin/operator/settlement/payouts.py",
      '        if row["state"] != "failed":\n', "        if True:\n",
      f"{SETTLED}::test_what_was_collected_is_paid_out_once"),
    _("any merchant pays others out", "src/florin/operator/collectors.py",
      "    if not is_collector(settings, merchant):\n", "    if False:\n",
      f"{SETTLED}::test_only_a_named_operator_pays_out"),
    _("a rate changes what was sold before", PAYOUTS, "and z.valid_from <= p.paid_at",
      "and z.valid_from <= now_here", f"{SETTLED}::test_a_rate_counts_from_its_date_on"),
    _("cards of an order take the VAT of a changed program", "src/florin/ledger/issue.sql",
      "case when i.payment is null then p.vat_rate else s.vat_rate end", "p.vat_rate",
      f"{VAT}::test_an_order_says_what_of_its_price_is_vat"),
    _("a top-up takes the VAT of its program", "src/florin/orders/batches/pricing.py",
      "            vat = await _check_top_up(", "            await _check_top_up(",
      f"{VAT}::test_a_top_up_has_the_treatment_of_its_card"),
    _("what an import brings is taxed", "src/florin/reports/vat.py",
      "j.kind = 'import'", "false",
      f"{VAT}::test_value_that_an_import_brings_was_sold_elsewhere"),
    _("VAT is rounded down", "src/florin/merchants/vat.py", "+ whole) // (2 * whole)",
      ") // (2 * whole)", "tests/merchants/test_vat.py::test_a_half_is_rounded_up"),
    _("single-purpose cards are sold anywhere", LAW,
      'or (rule.check == "one_supply" and _supplied_elsewhere(terms))', "",
      "tests/merchants/test_vat.py::test_production_refuses_a_single_purpose_that_is_none"),
    _("a manager overrides the law", "src/florin/merchants/api.py",
      '    if override is not msgspec.UNSET and caller.role != "owner":\n', "    if False:\n",
      f"{LAWS}::test_only_an_owner_overrides_and_it_is_audited"),
)  # fmt: skip
