"""Mutations of the pages: their origin check, cookie, visitors, escaping and leading on."""

from tests.mutation.mutation import without as _

ORIGIN = "src/florin/web/origin_check.py"
COOKIE = "src/florin/web/sign_in_cookie.py"
VISITORS = "src/florin/web/visitors.py"
VIEW = "src/florin/web/pages.py"
SHAPES = "src/florin/web/environment.py"
ROUTES = "src/florin/web/page_routes.py"
PUBLIC = "src/florin/web/public_pages.py"
SUMS = "src/florin/reports/period_sums.py"
REPORTS = "tests/web/test_report_pages.py"
VALUES = "src/florin/kit/valkey/shared_values.py"
SHARED = "src/florin/web/shared_pages.py"
SHARING = "tests/web/test_shared_pages.py"
COHORTS = "tests/reports/test_cohorts.py"
TILL = "tests/web/test_till_browser.py"
SALE = "tests/web/test_till_sale.py"
PERIODS = "tests/reports/test_period_sums.py"

OVER_HTTP = "tests/web/test_pages.py"
SIGNING = "tests/web/test_sign_in.py"
STOREFRONT = "src/florin/web/customer/storefront.py"
GIFT = "src/florin/web/customer/gift.py"
BRANDING = "src/florin/merchants/branding.py"
SHOPS = "tests/web/test_storefront.py"
LOOKS = "tests/merchants/test_branding.py"
ORDERS = "src/florin/web/console/orders.py"
HOOKS = "src/florin/web/console/webhooks.py"
CLOCK = "src/florin/web/console/clock.py"
CONSOLE = "tests/web/test_console.py"
OPERATOR = "src/florin/web/operator.py"
AT_PUBLIC_PORT = "tests/web/test_operator.py"

CARD = "src/florin/web/customer/card.py"
BALANCE = "src/florin/web/customer/balance.py"
CHANGES = "src/florin/web/customer/order_changes.py"
CHECKOUT = "src/florin/orders/checkout.py"
IMAGES = "src/florin/merchants/images.py"
HELD_CARDS = "tests/web/test_card_page.py"
BALANCES = "tests/web/test_balance_page.py"
ORDER_PAGES = "tests/web/test_order_page.py"
PICTURES = "tests/merchants/test_images.py"
GATEWAYS = "src/florin/web/console/gateways.py"
CONNECTED = "tests/web/test_gateway_pages.py"
TOP_UPS = "src/florin/web/customer/top_up.py"
OFFERS = "src/florin/web/customer/top_up_offer.py"
TOPPED = "tests/web/test_top_up_page.py"

PAGES = (
    _(
        "a form of another site is accepted",
        ORIGIN,
        '        if site not in {"same-origin", "none"}:',
        '        if site in {"cross-site-x"}:',
        f"{OVER_HTTP}::test_a_form_of_another_site_is_refused",
    ),
    _(
        "a foreign Origin is accepted where the browser sends no Sec-Fetch-Site",
        ORIGIN,
        "    if origin is None:\n        return\n",
        "    return\n",
        f"{OVER_HTTP}::test_a_form_of_another_site_is_refused",
    ),
    _(
        "the sign-in cookie is readable",
        COOKIE,
        "; HttpOnly; SameSite=Strict",
        "; SameSite=Strict",
        f"{SIGNING}::test_sign_in_keeps_a_sealed_strict_cookie",
    ),
    _(
        "behind https the cookie is not bound to the host",
        COOKIE,
        'public.startswith("https://")',
        'public.startswith("never")',
        f"{SIGNING}::test_behind_https_the_cookie_is_bound_to_the_host",
    ),
    _(
        "a page leads on to another origin",
        "src/florin/web/local_paths.py",
        'text.startswith(("//", "/\\\\"))',
        'text.startswith("never")',
        f"{OVER_HTTP}::test_no_page_leads_on_to_another_origin",
    ),
    _(
        "a renewed pair of tokens is not kept in the browser",
        VISITORS,
        "        keep_header(scope, self.cookie.keep_tokens(renewed))\n",
        "",
        f"{SIGNING}::test_tabs_that_refresh_together_on_two_instances_stay_signed_in",
    ),
    _(
        "what people type is written as HTML",
        SHAPES,
        "        autoescape=True,\n",
        "        autoescape=False,\n",
        f"{SIGNING}::test_sign_up_makes_a_merchant_and_signs_in",
    ),
    _(
        "a page does not check the scope of its visitor",
        ROUTES,
        '    if ":" in PAGES[name]:',
        "    if False:",
        f"{SIGNING}::test_a_role_sees_and_does_only_its_own",
    ),
    _(
        "a public page is found by its address alone",
        VIEW,
        'self.scope["path"], shown)',
        'self.scope["path"])',
        f"{SHOPS}::test_a_change_is_on_the_next_page_of_each_language",
    ),
    _(
        "a public page is kept for all languages",
        VIEW,
        "page_key(template, self.language, ",
        "page_key(template, ",
        f"{SHOPS}::test_a_change_is_on_the_next_page_of_each_language",
    ),
    _(
        "any number of public pages is kept",
        PUBLIC,
        "        while self._bytes > _KEPT_BYTES:",
        "        while False:",
        f"{SHOPS}::test_kept_pages_are_bounded",
    ),
    _(
        "a page of any origin is taken from Valkey",
        VALUES,
        "        return value if any(valid) else None",
        "        return value",
        f"{SHARING}::test_a_page_without_a_valid_signature_is_rendered",
    ),
    _(
        "a page in Valkey may be moved to another address",
        VALUES,
        "hmac.digest(each, length + key + value,",
        "hmac.digest(each, value,",
        f"{SHARING}::test_a_page_without_a_valid_signature_is_rendered",
    ),
    _(
        "a page of another release is sent",
        SHARED,
        "self._release + looks() + key",
        "looks() + key",
        f"{SHARING}::test_a_page_of_another_release_or_key_is_rendered",
    ),
    _(
        "shared pages are kept for ever",
        VALUES,
        ", ex=self._kept_s",
        "",
        f"{SHARING}::test_a_page_is_rendered_once_for_all_instances",
    ),
    _(
        "each page waits for a Valkey that does not answer",
        VALUES,
        "            self._rest_until = time.monotonic() + _REST_S\n",
        "            await asyncio.sleep(0.2)\n",
        f"{SHARING}::test_a_valkey_that_does_not_answer_costs_a_moment_once",
    ),
    _(
        "any page may compile WebAssembly and film",
        VIEW,
        "CAMERA_POLICY if camera else POLICY",
        "CAMERA_POLICY",
        f"{TILL}::test_only_the_page_with_the_camera_may_compile_and_film",
    ),
    _(
        "a second press sends a change again that has no answer yet",
        "src/florin/web/static/florin.js",
        "if (form.dataset.settle) return;",
        "",
        f"{TILL}::test_lost_answers_take_nothing_more",
    ),
    _(
        "a plastic card that another sale activated is sold again",
        "src/florin/web/till/selling.py",
        'how="plastic" if sold else "before"',
        'how="plastic"',
        f"{SALE}::test_two_tills_at_once_sell_a_plastic_card_once",
    ),
    _(
        "a part that was typed gives everything back",
        "src/florin/web/till/undoing.py",
        'if typed or form.text("how") == "part":',
        'if form.text("how") == "part":',
        "tests/web/test_till.py::test_what_was_typed_to_give_back_is_a_part",
    ),
    _(
        "a roll-forward leaves out what was taken back",
        "src/florin/reports/activity.py",
        "unnest(enum_range(null::florin.transfer_kind)) k",
        "unnest('{issue,activate,load,redeem,refund,adjust}'::florin.transfer_kind[]) k",
        f"{REPORTS}::test_a_line_of_the_roll_forward_adds_up_to_the_ledger",
    ),
    _(
        "a year of issue has entries after its instant",
        "src/florin/reports/cohorts.py",
        "ends, now = as_of + _INSTANT, None  # of this instant only: not kept",
        "pass",
        f"{COHORTS}::test_all_years_add_up_to_the_ledger_at_each_instant",
    ),
    _(
        "a transfer between cards counts on one of them",
        "src/florin/reports/cohorts.py",
        "values (t.debit_card, -t.amount), (t.credit_card, t.amount)",
        "values (t.debit_card, -t.amount)",
        f"{COHORTS}::test_all_years_add_up_to_the_ledger_at_each_instant",
    ),
    _(
        "old messages wait for a person for ever",
        "src/florin/reports/attention.py",
        "where d.merchant = $1 and d.id >= (",
        "where d.merchant = $1 or d.id >= (",
        f"{COHORTS}::test_counts_are_of_the_latest_and_bounded",
    ),
    _(
        "any number of webhook deliveries is counted",
        "src/florin/reports/attention.py",
        "w.position desc limit {COUNTED_MAX}) x",
        "w.position desc) x",
        f"{COHORTS}::test_what_is_not_counted_is_not_read_without_a_bound",
    ),
    _(
        "sums of a time that is not settled are kept",
        SUMS,
        "until = min(ends, now - _SETTLED)",
        "until = min(ends, now)",
        f"{PERIODS}::test_the_latest_entries_are_counted_each_time",
    ),
    _(
        "the settled part of a period is counted twice",
        SUMS,
        "await self._read(merchant, currency, settled.until, part)",
        "await self._read(merchant, currency, begins, part)",
        f"{PERIODS}::test_the_latest_entries_are_counted_each_time",
    ),
    _(
        "a shared sum stands for the whole period",
        SUMS,
        "    until, lines = msgspec.msgpack.decode(value, type=_Encoded)\n",
        "    until, lines = msgspec.msgpack.decode(value, type=_Encoded)\n"
        "    until = until.replace(year=9999)\n",
        f"{PERIODS}::test_an_instance_that_starts_reads_what_came_since",
    ),
    _(
        "shared sums outlive a restore of the database",
        SUMS,
        "about = (self._about, tuple(cluster.values()), timeline)",
        "about = (self._about, tuple(cluster.values()))",
        f"{PERIODS}::test_an_instance_that_starts_reads_what_came_since",
    ),
    _(
        "sums are kept though the clock was moved",
        SUMS,
        "        if now is None:\n            return ",
        "        now = now or ends\n        if begins == ends:\n            return ",
        f"{PERIODS}::test_nothing_is_kept_where_the_clock_was_moved",
    ),
    _(
        "any number of sums is kept",
        SUMS,
        "        while self._groups > _KEPT_GROUPS:",
        "        while False:",
        f"{PERIODS}::test_what_is_kept_is_bounded",
    ),
    _(
        "a draft makes an order each time it is sent",
        STOREFRONT,
        "request, key=draft.key)",
        "request, key=None)",
        f"{SHOPS}::test_a_draft_is_one_order_and_cannot_be_changed",
    ),
    _(
        "a storefront takes any amount of orders from one address",
        STOREFRONT,
        "    await identity.limits.take(ORDERS, identity.client(view.request).address)\n",
        "",
        f"{SHOPS}::test_new_orders_of_one_address_are_limited",
    ),
    _(
        "a card may be asked for at a time that is over",
        GIFT,
        '    if not row["ahead"]:\n',
        "    if False:\n",
        f"{SHOPS}::test_a_mistake_is_named_and_nothing_is_lost",
    ),
    _(
        "two merchants have one slug",
        BRANDING,
        "    if taken is not None:\n",
        "    if False:\n",
        f"{LOOKS}::test_a_slug_belongs_to_one_merchant",
    ),
    _(
        "merchants do not wait for each other to take a slug",
        BRANDING,
        '"select pg_advisory_xact_lock($1)"',
        '"select $1::bigint"',
        f"{LOOKS}::test_a_slug_that_is_being_taken_is_waited_for",
    ),
    _(
        "lines that cannot be seen on the card are accepted",
        BRANDING,
        "    if contrast < _LINES_LEAST:\n",
        "    if False:\n",
        f"{LOOKS}::test_what_is_no_look_is_refused",
    ),
    _(
        "an image of any size in pixels is accepted",
        BRANDING,
        "LOGO_LEAST <= side <= LOGO_MOST for side",
        "True for side",
        f"{LOOKS}::test_what_is_no_look_is_refused",
    ),
    _(
        "a refund needs no reason",
        ORDERS,
        "    if not reason:\n",
        "    if False:\n",
        f"{CONSOLE}::test_an_order_is_refunded_with_a_reason",
    ),
    _(
        "a second press refunds again",
        ORDERS,
        'body, key=form.text("key"))',
        "body, key=frame.view.new_key())",
        f"{CONSOLE}::test_an_order_is_refunded_with_a_reason",
    ),
    _(
        "a hidden field of an order reaches other routes",
        ORDERS,
        '            ids.require_id("pay", payment)  # nothing else may become part of a path\n',
        "",
        f"{CONSOLE}::test_a_hidden_field_names_a_thing_and_no_other_route",
    ),
    _(
        "a hidden field of a webhook reaches other routes",
        HOOKS,
        '            ids.require_id("whd", delivery)  # nothing else may become part of a path\n',
        "",
        f"{CONSOLE}::test_a_hidden_field_names_a_thing_and_no_other_route",
    ),
    _(
        "the console of a merchant without a test clock has its page",
        CLOCK,
        "    if frame.clock is None:\n        raise NotFound",
        "    if False:\n        raise NotFound",
        f"{CONSOLE}::test_the_clock_of_a_test_merchant_is_moved",
    ),
    _(
        "an owner of any merchant sees the operator's page",
        OPERATOR,
        "or not is_operator(visitor.caller, settings)",
        "or False",
        f"{AT_PUBLIC_PORT}::test_everyone_else_gets_the_answer_of_what_does_not_exist",
    ),
    _(
        "any member of an operator's merchant sees its page",
        OPERATOR,
        'if "queues:read" not in visitor.caller.scopes or',
        "if",
        f"{AT_PUBLIC_PORT}::test_everyone_else_gets_the_answer_of_what_does_not_exist",
    ),
    _(
        "every path of the operator process is forwarded",
        OPERATOR,
        "    if _FORWARDED.fullmatch(path) is None:\n",
        "    if False:\n",
        f"{AT_PUBLIC_PORT}::test_nothing_else_of_the_operator_process_is_reached",
    ),
    _(
        "a kept mail is shown under the policy of a page",
        OPERATOR,
        'answer.headers["content-security-policy"]',
        "\"default-src 'self'\"",
        f"{AT_PUBLIC_PORT}::test_a_mail_of_the_mailbox_stays_confined",
    ),
    _(
        "a card that cannot be spent is printed",
        CARD,
        "    if card is None or not is_usable(card):\n        return refuse_card(view)\n"
        "    voucher",
        "    if card is None:\n        return refuse_card(view)\n    voucher",
        f"{HELD_CARDS}::test_a_card_that_cannot_be_spent_shows_no_code",
    ),
    _(
        "the page of a card may be found by search engines",
        CARD,
        "    shown.headers.update(HIDDEN)\n",
        "",
        f"{HELD_CARDS}::test_nothing_of_a_card_is_kept_or_found",
    ),
    _(
        "a wrong PIN on the balance page does not count as a wrong code",
        BALANCE,
        "await transactions.guesses.record_failure(context, code, times=guess_weight(code))",
        "pass",
        f"{BALANCES}::test_wrong_codes_and_wrong_pins_are_limited_alike",
    ),
    _(
        "the balance page answers a wrong code at once",
        BALANCE,
        "await asyncio.sleep(begun + REFUSED_AFTER_S - asyncio.get_running_loop().time())",
        "pass",
        f"{BALANCES}::test_a_wrong_code_and_a_wrong_pin_have_one_answer",
    ),
    _(
        "one visitor of the balance page locks out all others",
        BALANCE,
        "        client_named=True,\n",
        "        client_named=False,\n",
        f"{BALANCES}::test_one_visitor_locks_no_other_out",
    ),
    _(
        "an order's page sends any number of messages",
        CHANGES,
        "    await identity.limits.take_of(SENDS, parse_order_id(found.order.id).hex)\n",
        "",
        f"{ORDER_PAGES}::test_an_order_causes_few_messages",
    ),
    _(
        "an order's page changes a delivery of another order",
        CHANGES,
        "    raise NotFound\n\n\nasync def _explain_address",
        '    return {"id": delivery, "channel": "email"}\n\n\nasync def _explain_address',
        f"{ORDER_PAGES}::test_only_the_deliveries_of_the_order_are_changed",
    ),
    _(
        "pressed together, paying again begins several attempts",
        CHECKOUT,
        '            if after is not None and latest["id"] != after:\n',
        "            if False:\n",
        f"{ORDER_PAGES}::test_a_declined_order_is_paid_again_once",
    ),
    _(
        "a damaged image is stored",
        IMAGES,
        "        if check != zlib.crc32(kind + body) or unknown:\n",
        "        if unknown:\n",
        f"{PICTURES}::test_what_is_no_image_is_refused",
    ),
    _(
        "an image may unpack to any size",
        IMAGES,
        "    if not unpacking.eof or not least <= len(pixels) <= most:\n",
        "    if False:\n",
        f"{PICTURES}::test_what_is_no_image_is_refused",
    ),
    _(
        "the place where a picture was taken is stored",
        IMAGES,
        "_JPEG_KEPT = frozenset((*_FRAMES,",
        "_JPEG_KEPT = frozenset((*_FRAMES, 0xE1,",
        f"{PICTURES}::test_a_jpeg_is_kept_without_what_does_not_belong_to_the_picture",
    ),
    _(
        "the storefront sells programs that are not for sale",
        "src/florin/web/customer/shop.py",
        "and p.for_sale and not p.imported_codes",
        "and not p.imported_codes",
        f"{SHOPS}::test_a_program_that_is_not_for_sale_is_not_sold",
    ),
    _(
        "a secret is asked for before the proof of identity, and lost",
        GATEWAYS,
        "    if not visitor.caller.fresh:",
        "    if False:",
        f"{CONNECTED}::test_a_secret_is_asked_for_only_after_a_recent_proof",
    ),
    _(
        "a card is topped up whose program is not for sale",
        OFFERS,
        "    if not program.for_sale or program.imported_codes:",
        "    if False:",
        f"{TOPPED}::test_a_card_that_cannot_be_topped_up_offers_none",
    ),
    _(
        "a card is topped up beyond what it may have",
        OFFERS,
        '    if account["room"] is not None:',
        "    if False:",
        f"{TOPPED}::test_only_the_denominations_of_a_program_are_taken",
    ),
    _(
        "any amount is taken for a top-up",
        OFFERS,
        "        return self.low <= minor <= self.high",
        "        return True",
        f"{TOPPED}::test_what_does_not_fit_orders_nothing",
    ),
    _(
        "the key of one card's form finds the order of another",
        TOP_UPS,
        "hashlib.sha256(card.bytes + typed.encode())",
        "hashlib.sha256(typed.encode())",
        f"{TOPPED}::test_the_key_of_a_form_reaches_no_other_order",
    ),
    _(
        "one address orders any number of top-ups",
        TOP_UPS,
        "    await identity.limits.take(ORDERS, identity.client(view.request).address)\n",
        "",
        f"{TOPPED}::test_new_orders_of_one_address_are_limited",
    ),
    _(
        "the buyer of a top-up sees and redirects the messages of the card's holder",
        "src/florin/web/customer/order.py",
        "        if item.card is None\n",
        "",
        f"{TOPPED}::test_the_buyer_of_a_top_up_learns_nothing_of_the_card",
    ),
)
