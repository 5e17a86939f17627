"""Mutations of disputes: blocks and claims of cards, value that moved on, and what is taken."""

from tests.mutation.mutation import without as _

DISPUTE = "src/florin/orders/disputes.py"
SETTLE = "src/florin/orders/settlement.py"
CLAWBACK = "src/florin/orders/clawback.py"
FOLLOWING = "src/florin/ledger/following.py"

DISPUTES = "tests/orders/test_disputes.py"
CARDS = "tests/orders/test_dispute_cards.py"

DISPUTE_MUTATIONS = (
    _("a dispute unblocks what a member blocked", DISPUTE,
      "claimed = blocked & await _claimed_in(tx, merchant, dispute, cards)", "claimed = blocked",
      f"{DISPUTES}::test_a_member_s_block_outlives_the_dispute"),
    _("a dispute forgets the cards that another one blocked", DISPUTE,
      "return sorted(claimed | {", "return sorted({",
      f"{CARDS}::test_a_chargeback_outlives_the_warning_before_it"),
    _("a dispute unblocks what another one claims", DISPUTE,
      "for card in cards if card not in kept]", "for card in cards]",
      f"{CARDS}::test_a_card_of_two_disputed_orders_waits_for_both"),
    _("claims are compared before their cards are locked", DISPUTE,
      """    await lock_cards_in(tx, merchant, cards, payment["id"], actor)
    kept = """, "    kept = ",
      f"{CARDS}::test_a_dispute_that_ends_waits_for_one_that_begins"),
    _("a dispute claims cards that it has not locked", DISPUTE,
      'free = await lock_cards_in(tx, payment["merchant"], locked, payment["id"], actor)',
      "free = dict[UUID, int]()",
      f"{CARDS}::test_a_dispute_that_ends_waits_for_one_that_begins"),
    _("a card is locked after others with a later id", DISPUTE,
      "    if not locked.issuperset(", "    if False and not locked.issuperset(",
      f"{CARDS}::test_value_cannot_move_on_while_its_card_is_blocked"),
    _("a look from before the end of a dispute moves money", DISPUTE,
      '    if row["state"] != "open" and seen.state == "open":\n', "    if False:\n",
      f"{DISPUTES}::test_a_look_from_before_the_end_of_a_dispute_moves_no_money"),
    _("money that no card has is lost twice", DISPUTE,
      "    if not has_cards:\n        left -=", "    if False:\n        left -=",
      f"{DISPUTES}::test_a_lost_dispute_of_an_order_in_review_ends_what_is_owed"),
    _("what a gateway said is kept for long", SETTLE,
      "                if busy == BUSY_ATTEMPTS:\n", "                if busy == ATTEMPTS:\n",
      f"{CARDS}::test_what_the_gateway_said_does_not_get_old"),
    _("cards beyond a part are left alone", CLAWBACK,
      "    for start in range(0, len(wanted), PART):\n", "    for start in range(0, PART, PART):\n",
      f"{CARDS}::test_all_cards_of_an_order_stop"),
    _("value of before the disputed money is followed", FOLLOWING,
      "    and t.debit_sequence > m.since\n", "",
      f"{CARDS}::test_value_that_moved_before_the_money_came_is_not_followed"),
    _("each transfer makes a path", FOLLOWING,
      "  group by t.credit_card, m.card, m.most\n) p group by p.card order",
      "  group by t.credit_card, m.card, m.most, t.id\n) p group by p.card, p.since order",
      f"{CARDS}::test_value_that_goes_to_and_fro_is_a_row_of_each_card"),
    _("of many transfers one is taken back", FOLLOWING,
      "least(sum(t.amount), m.most)", "least(max(t.amount), m.most)",
      f"{CARDS}::test_value_of_several_cards_is_taken_from_the_one_that_has_it"),
    _("a dispute forgets value that moved on", FOLLOWING, "LEVELS = 5\n", "LEVELS = 0\n",
      f"{DISPUTES}::test_a_dispute_follows_value_to_another_card"),
    _("another card loses more than came from the disputed one", DISPUTE,
      "most = min(left, each.most, free[each.card])", "most = min(left, free[each.card])",
      f"{CARDS}::test_what_was_spent_is_not_taken_from_another_card"),
)  # fmt: skip
