"""Mutations of orders and payments: locks, comparisons, claims, claw-backs and disputes."""

from tests.mutation.mutation import without as _

SETTLE = "src/florin/orders/settlement.py"
CLAWBACK = "src/florin/orders/clawback.py"
REFUND = "src/florin/orders/refunds.py"
DISPUTE = "src/florin/orders/disputes.py"
LOOK = "src/florin/orders/looking.py"
CHECKOUT = "src/florin/orders/checkout.py"
DIRECTORY = "src/florin/payments/gateway_directory.py"
TEST_GATEWAY = "src/florin/payments/gateways/test.py"
POST = "src/florin/ledger/post.sql"

ORDERS = "tests/orders/test_orders.py"
REFUNDS = "tests/orders/test_refunds.py"
DISPUTES = "tests/orders/test_disputes.py"
PAYPAL = "tests/payments/test_paypal.py"
STRIPE = "tests/payments/test_stripe.py"
KINDS = "tests/cards/jobs/test_job_types.py"
_REVIEW = f"{ORDERS}::test_what_differs_from_the_order_goes_to_review"
_SECOND = f"{ORDERS}::test_the_second_paid_attempt_is_returned"

PAYMENTS = (
    _("an order that was paid is fulfilled by another payment", SETTLE,
      'stands = order["state"] == "placed" and order["paid_by"] is None', "stands = True",
      _SECOND),
    _("the amount is not compared", SETTLE, '    if seen.amount != row["amount"]:\n',
      "    if False:\n", _REVIEW),
    _("the currency is not compared", SETTLE, '    if seen.currency != row["currency"]:\n',
      "    if False:\n", _REVIEW),
    _("the payment in the gateway's object is not compared", SETTLE,
      '    if seen.ours != row["id"]:\n', "    if False:\n", _REVIEW),
    _("the reference is not compared", SETTLE,
      '    if row["reference"] is not None and seen.reference != row["reference"]:\n',
      "    if False:\n", _REVIEW),
    _("test money buys cards", SETTLE, "    if seen.real_money != real_money:\n",
      "    if False:\n", _REVIEW),
    _("a payment without the lock is settled", SETTLE,
      '" where merchant = $1 and id = $2 for no key update",\n            merchant,\n'
      "            payment.id,",
      '" where merchant = $1 and id = $2",\n            merchant,\n            payment.id,',
      f"{ORDERS}::test_settlers_race_for_one_card"),
    _("a paid payment becomes failed", SETTLE, '        if row["state"] != "paid":\n',
      '        if row["state"] != "paid" or seen.state != "paid":\n',
      f"{ORDERS}::test_paid_is_final"),
    _("surplus is kept", SETTLE, "            await self._return_surplus(tx, row, seen)\n",
      "            pass\n", _SECOND),
    _("a retry leaves a processing payment alone", CHECKOUT,
      'pending = any(each["state"] in {"processing", "paid"} for each in payments)',
      "pending = False", f"{ORDERS}::test_no_new_attempt_while_one_is_processing"),
    _("a paid order is cancelled", CHECKOUT,
      'if row["state"] in {"paid", "fulfilled", "review"}:', "if False:", _SECOND),
    _("the test gateway works in production", DIRECTORY,
      "        return self._settings.env != PRODUCTION\n", "        return True\n",
      f"{ORDERS}::test_the_test_gateway_is_refused_in_production"),
    _("test money buys cards in production", DIRECTORY,
      "        if not real_money and not is_test and not self.test_allowed:\n",
      "        if False:\n", f"{ORDERS}::test_test_money_buys_nothing_in_production"),
    _("a test merchant takes real money", DIRECTORY, "        if real_money and is_test:\n",
      "        if False:\n", f"{ORDERS}::test_test_money_buys_nothing_in_production"),
    _("an order lapses while it is paid again", "src/florin/orders/jobs.py",
      "where o.merchant = $1 and o.id = $2 and {_UNPAID} returning",
      "where o.merchant = $1 and o.id = $2 returning",
      "tests/orders/test_lapsing.py"
      "::test_an_order_that_is_paid_again_meanwhile_does_not_lapse"),
    _("an unsigned webhook is received", "src/florin/payments/gateways/stripe.py",
      "        raise WebhookNotAuthentic\n",
      "        return read_stripe_event(msgspec.json.decode(body, type=StripeEvent))\n",
      f"{STRIPE}::test_only_authentic_webhooks_are_received"),
    _("webhooks are received without a secret", DIRECTORY,
      "and each.gateway.takes_webhooks:\n", "and True:\n",
      f"{STRIPE}::test_only_authentic_webhooks_are_received"),
    _("a pending capture is money", "src/florin/payments/gateways/paypal_objects.py",
      '    "PENDING": "processing",\n', '    "PENDING": "paid",\n',
      f"{PAYPAL}::test_a_pending_capture_is_no_money"),
    _("a cancelled order is captured", "src/florin/payments/gateways/paypal.py",
      'if order["status"] == "APPROVED" and payment.order_stands:\n',
      'if order["status"] == "APPROVED":\n',
      f"{PAYPAL}::test_nothing_is_captured_for_a_cancelled_order"),
    _("a webhook that PayPal does not know is received", "src/florin/payments/gateways/paypal.py",
      '        if answer.get("verification_status") != "SUCCESS":\n', "        if False:\n",
      f"{PAYPAL}::test_only_authentic_webhooks_are_received"),
    _("the page to pay a cancelled order stays open", LOOK, "(not row.order_stands or await",
      "(False or await", f"{ORDERS}::test_the_page_to_pay_a_cancelled_order_is_closed"),
    _("an order is paid again without a look", "src/florin/orders/api.py",
      "    await selling.looker.look_at_order(caller.merchant, uuid)\n"
      "    await selling.checkout.expire_payments(caller.merchant, uuid)\n"
      "    await selling.looker.look_at_order(caller.merchant, uuid)\n",
      "    await selling.checkout.expire_payments(caller.merchant, uuid)\n",
      f"{ORDERS}::test_what_was_paid_meanwhile_is_neither_cancelled_nor_paid_again"),
    _("the choice of the buyer enqueues no look", TEST_GATEWAY,
      '        await enqueue(tx, look_job(row["merchant"], row["payment"],'
      " cause=ids.new_id().hex))\n", "",
      f"{ORDERS}::test_the_worker_settles_without_the_buyer"),
    _("two requests that open a payment make two pages", TEST_GATEWAY,
      "payment_page_token(self._pepper, ", "payment_page_token(ids.new_id().bytes, ",
      f"{KINDS}::test_at_once"),
    _("an ended refund is recorded again", REFUND,
      'if seen.state == "pending" or row["state"] == seen.state or row["state"] == "failed":',
      'if seen.state == "pending" or row["state"] == "failed":',
      f"{KINDS}::test_at_once"),
    _("what is due is not enqueued", "src/florin/orders/jobs.py",
      "        if jobs:\n", "        if False:\n", f"{KINDS}::test_twice"),
    _("a card is issued and not sent", "src/florin/orders/fulfilment.py",
      "        for each in sent:\n", "        for each in sent[:0]:\n",
      f"{ORDERS}::test_each_new_card_is_sent_once"),
    _("spent value is refunded", REFUND,
      "    if amount == 0 or (amount > unspent and not plan.beyond_unspent):\n",
      "    if amount == 0:\n",
      f"{REFUNDS}::test_what_is_unspent_is_refunded_by_default"),
    _("refunds exceed their payment", REFUND,
      "    if plan.amount is not None and plan.amount > left:\n", "    if False:\n",
      f"{REFUNDS}::test_a_refund_in_parts_and_a_repetition"),
    _("a failed refund gives nothing back", REFUND,
      "    await give_back_in(tx, merchant, payment, clawed, actor=actor)\n", "",
      f"{REFUNDS}::test_a_refund_that_fails_gives_the_value_back"),
    _("an adopted refund leaves the card alone", REFUND,
      "    if has_cards:\n        clawed = await claw_back_in(\n            tx, merchant, payment"
      '["orders"]', "    if False:\n        clawed = await claw_back_in(\n            tx, merchant,"
      ' payment["orders"]',
      f"{REFUNDS}::test_a_refund_in_the_dashboard_is_adopted"),
    _("a disputed payment is refunded", REFUND, "        raise PaymentDisputed\n", "        pass\n",
      f"{DISPUTES}::test_a_dispute_blocks_the_card_and_is_won"),
    _("more is clawed back than the order put on the card", CLAWBACK,
      'wanted = row["left"] if amount is None else min(row["left"], amount)',
      "wanted = 10**9 if amount is None else amount",
      f"{DISPUTES}::test_a_lost_dispute_leaves_other_money_on_the_card"),
    _("held money is clawed back", POST, "      take := least(take, free);\n",
      "      take := least(take, c_balance[c]);\n",
      f"{REFUNDS}::test_money_that_a_hold_reserves_is_not_refunded"),
    _("a dispute unblocks what a member blocked", DISPUTE, '            if row["blocked"]:\n',
      "            if False:\n", f"{DISPUTES}::test_a_member_s_block_outlives_the_dispute"),
    _("a dispute forgets value that moved on", DISPUTE, "  where m.depth < 5\n",
      "  where m.depth < 0\n", f"{DISPUTES}::test_a_dispute_follows_value_to_another_card"),
    _("another card loses more than came from the disputed one", DISPUTE,
      '        most = min(left, row["most"])\n', "        most = 10**9\n",
      f"{DISPUTES}::test_a_dispute_follows_value_to_another_card"),
)  # fmt: skip
