"""Mutations of the pages: their origin check, cookie, visitors, escaping and leading on."""

from tests.mutation.mutation import without as _

ORIGIN = "src/florin/web/origin_check.py"
COOKIE = "src/florin/web/sign_in_cookie.py"
VISITORS = "src/florin/web/visitors.py"
VIEW = "src/florin/web/pages.py"
SHAPES = "src/florin/web/environment.py"
ROUTES = "src/florin/web/page_routes.py"

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
        VIEW,
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
        "    if not all(LOGO_LEAST <= side <= LOGO_MOST for side in size):\n",
        "    if False:\n",
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
)
