"""Operations: every operation of Florin's OpenAPI document, by its operationId, one line each.

To add one: a line with the type of its answer, its route and the shape of its arguments. `keyed`
says that the route takes the header `Idempotency-Key`. Most shapes are general (`by_id`, `fields`,
`by_id_fields`, `filters`): fields of a request are keyword arguments by their names in the
document, with `from_` for `from`. Requests that are made often have a function of their own, whose
`more` takes what this package does not name.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from florin_client import nouns
from florin_client.calls import Arguments, FileOperation, ListOperation, Operation
from florin_client.nouns import Json

Key = str | None


def _written(value: Any) -> Any:
    """A value as JSON and URLs write it: a time needs its offset."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no offset; give the time with a time zone")
        return value.isoformat()
    return value


def _fields(given: Mapping[str, Any]) -> Json:
    return {name.removesuffix("_"): _written(value) for name, value in given.items()}


def _query(given: Mapping[str, Any]) -> Json:
    """`created_gte` is the filter `created[gte]`; None is left out."""
    named: Json = {}
    for name, value in _fields(given).items():
        if value is not None:
            shown = f"created[{name[8:]}]" if name.startswith("created_") else name
            named[shown] = ("false", "true")[value] if isinstance(value, bool) else value
    return named


def _body(key: Key = None, *path: str, **given: Any) -> Arguments:
    """A request whose fields that are None are left out."""
    more: Mapping[str, Any] = given.pop("more", {})
    fields = {name: value for name, value in given.items() if value is not None} | dict(more)
    return Arguments(path=path, body=_fields(fields), key=key)


def none() -> Arguments:
    return Arguments()


def by_id(noun_id: str, /) -> Arguments:
    return Arguments(path=(noun_id,))


def by_id_keyed(noun_id: str, /, *, idempotency_key: Key = None) -> Arguments:
    return Arguments(path=(noun_id,), key=idempotency_key)


def fields(*, idempotency_key: Key = None, **given: Any) -> Arguments:
    return Arguments(body=_fields(given), key=idempotency_key)


def by_id_fields(noun_id: str, /, *, idempotency_key: Key = None, **given: Any) -> Arguments:
    body = _fields(given) if given else None
    return Arguments(path=(noun_id,), body=body, key=idempotency_key)


def by_id_query(noun_id: str, /, **query: Any) -> Arguments:
    return Arguments(path=(noun_id,), query=_query(query))


def filters(
    *, limit: int | None = None, starting_after: str | None = None, **query: Any
) -> Arguments:
    return Arguments(query=_query({"limit": limit, "starting_after": starting_after, **query}))


def by_id_filters(
    noun_id: str,
    /,
    *,
    limit: int | None = None,
    starting_after: str | None = None,
    **query: Any,
) -> Arguments:
    page = {"limit": limit, "starting_after": starting_after}
    return Arguments(path=(noun_id,), query=_query(page | query))


def a_registration(email: str, password: str, merchant: Json) -> Arguments:
    return _body(email=email, password=password, merchant=merchant)


def a_program(
    name: str,
    currency: str,
    min_amount: int,
    max_amount: int,
    *,
    denominations: Sequence[int] | None = None,
    expires_after_months: int | None = None,
    idempotency_key: Key = None,
    **more: Any,
) -> Arguments:
    return _body(
        idempotency_key,
        name=name,
        currency=currency,
        min_amount=min_amount,
        max_amount=max_amount,
        denominations=denominations,
        expires_after_months=expires_after_months,
        more=more,
    )


def a_card(
    program: str,
    amount: int,
    *,
    recipient: Mapping[str, str] | None = None,
    deliver: Mapping[str, str] | None = None,
    activate: bool | None = None,
    expires_at: datetime | None = None,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: Key = None,
    **more: Any,
) -> Arguments:
    return _body(
        idempotency_key,
        program=program,
        amount=amount,
        recipient=recipient,
        deliver=deliver,
        activate=activate,
        expires_at=expires_at,
        metadata=metadata,
        more=more,
    )


def a_batch_of_cards(
    program: str,
    amount: int,
    quantity: int,
    *,
    activate: bool | None = None,
    idempotency_key: Key = None,
    **more: Any,
) -> Arguments:
    return _body(
        idempotency_key,
        program=program,
        amount=amount,
        quantity=quantity,
        activate=activate,
        more=more,
    )


def a_file_of_cards(
    file: bytes | Path, /, *, idempotency_key: Key = None, **query: Any
) -> Arguments:
    """`query`: `count`, `amount`, `program`, `columns`, `amounts`, `dates`, `dry_run`."""
    return Arguments(content=file, media_type="text/csv", query=_query(query), key=idempotency_key)


def a_spending(
    amount: int,
    currency: str,
    *,
    code: str | None = None,
    card: str | None = None,
    pin: str | None = None,
    reference: str | None = None,
    location: str | None = None,
    idempotency_key: Key = None,
    **more: Any,
) -> Arguments:
    """Of the card with `code` (and `pin`), or of `card`, by its id."""
    return _body(
        idempotency_key,
        amount=amount,
        currency=currency,
        code=code,
        card=card,
        pin=pin,
        reference=reference,
        location=location,
        more=more,
    )


def a_batch(redemptions: Sequence[Mapping[str, Any]]) -> Arguments:
    """Each with an `idempotency_key` of its own. Raises ValueError."""
    for each in redemptions:
        if not each.get("idempotency_key") and not each.get("simulate"):
            raise ValueError("each redemption of a batch needs its idempotency_key")
    return _body(redemptions=[_fields(each) for each in redemptions])


def a_refund(
    redemption: str, *, amount: int | None = None, idempotency_key: Key = None, **more: Any
) -> Arguments:
    return _body(idempotency_key, redemption=redemption, amount=amount, more=more)


def a_load(card: str, amount: int, *, idempotency_key: Key = None, **more: Any) -> Arguments:
    return _body(idempotency_key, card=card, amount=amount, more=more)


def a_transfer(
    from_: str, to: str, amount: int, *, idempotency_key: Key = None, **more: Any
) -> Arguments:
    return _body(idempotency_key, from_=from_, to=to, amount=amount, more=more)


def an_adjustment(
    card: str, amount: int, reason: str, *, idempotency_key: Key = None, **more: Any
) -> Arguments:
    return _body(idempotency_key, card=card, amount=amount, reason=reason, more=more)


def an_extension(
    noun_id: str, /, expires_at: datetime, reason: str, *, idempotency_key: Key = None
) -> Arguments:
    return _body(idempotency_key, noun_id, expires_at=expires_at, reason=reason)


def an_order(
    items: Sequence[Mapping[str, Any]],
    buyer: Mapping[str, str],
    *,
    gateway: str | None = None,
    idempotency_key: Key = None,
    **more: Any,
) -> Arguments:
    return _body(idempotency_key, items=items, buyer=buyer, gateway=gateway, more=more)


def a_bulk_order(
    program: str,
    recipients: str,
    buyer: Mapping[str, str],
    *,
    amount: int | None = None,
    gateway: str | None = None,
    idempotency_key: Key = None,
    **more: Any,
) -> Arguments:
    """`recipients`: CSV with a line of column names, such as email, name, amount."""
    return _body(
        idempotency_key,
        program=program,
        recipients=recipients,
        buyer=buyer,
        amount=amount,
        gateway=gateway,
        more=more,
    )


def an_endpoint(
    url: str, events: Sequence[str], *, idempotency_key: Key = None, **more: Any
) -> Arguments:
    return _body(idempotency_key, url=url, events=events, more=more)


def a_key(
    name: str, scopes: Sequence[str], *, idempotency_key: Key = None, **more: Any
) -> Arguments:
    return _body(idempotency_key, name=name, scopes=scopes, more=more)


def a_period(
    *, from_: datetime | None = None, to: datetime | None = None, **query: Any
) -> Arguments:
    return Arguments(query=_query({"from_": from_, "to": to, **query}))


def a_report(
    merchant: str, delivery: str, generation: int, body: bytes, headers: Mapping[str, str], /
) -> Arguments:
    """What Twilio sends about a message, as it came."""
    return Arguments(
        path=(merchant, delivery, str(generation)), content=body, headers=dict(headers)
    )


def a_mail_report(body: bytes, headers: Mapping[str, str], /) -> Arguments:
    """What a mail server reports, signed."""
    return Arguments(content=body, headers=dict(headers))


def a_gateway_message(gateway: str, body: bytes, headers: Mapping[str, str], /) -> Arguments:
    """What a gateway sends, as it came: for tests, and for a proxy that passes it on."""
    return Arguments(path=(gateway,), content=body, headers=dict(headers))


class Operations:
    """The operations of both clients."""

    register_merchant = Operation(nouns.Registered, "POST /auth/register", a_registration)
    sign_in = Operation(nouns.SignedIn, "POST /auth/login", fields)
    second_factor = Operation(nouns.SignedIn, "POST /auth/mfa", fields)
    refresh = Operation(nouns.SignedIn, "POST /auth/refresh", fields)
    prove_again = Operation(nouns.Session, "POST /auth/reauthentication", fields)
    logout = Operation(nouns.Session, "POST /auth/logout", fields)
    me = Operation(nouns.Me, "GET /auth/me", none)
    change_password = Operation(nouns.User, "POST /auth/password", fields)
    ask_for_reset = Operation(nouns.Accepted, "POST /auth/password-resets", fields)
    reset_password = Operation(nouns.User, "POST /auth/password-resets/confirm", fields)
    accept_invitation = Operation(nouns.User, "POST /auth/invitations/accept", fields)
    ask_for_verification = Operation(nouns.Accepted, "POST /auth/email-verifications", fields)
    verify_email = Operation(nouns.User, "POST /auth/email-verifications/confirm", fields)
    enrol = Operation(nouns.Enrolment, "POST /auth/totp", fields)
    confirm = Operation(nouns.RecoveryCodes, "POST /auth/totp/confirm", fields)
    renew_recovery = Operation(nouns.RecoveryCodes, "POST /auth/totp/recovery-codes", fields)
    disable = Operation(nouns.User, "POST /auth/totp/disable", fields)
    list_sessions = ListOperation(nouns.Session, "GET /sessions", filters)
    get_session = Operation(nouns.Session, "GET /sessions/{}", by_id)
    end_session = Operation(nouns.Session, "DELETE /sessions/{}", by_id)
    list_members = ListOperation(nouns.User, "GET /members", filters)
    add_member = Operation(nouns.User, "POST /members", fields)
    get_member = Operation(nouns.User, "GET /members/{}", by_id)
    change_member = Operation(nouns.User, "PATCH /members/{}", by_id_fields)
    remove_member = Operation(nouns.User, "DELETE /members/{}", by_id_query)
    reset_second_factor = Operation(nouns.User, "POST /members/{}/reset-second-factor", by_id)
    get_notices = Operation(nouns.NoticeSubscription, "GET /auth/notices", none)
    change_notices = Operation(nouns.NoticeSubscription, "PATCH /auth/notices", fields)
    list_audit = ListOperation(nouns.AuditRecord, "GET /audit", filters)
    get_audit = Operation(nouns.AuditRecord, "GET /audit/{}", by_id)
    list_keys = ListOperation(nouns.ApiKey, "GET /api-keys", filters)
    create_key = Operation(nouns.ApiKey, "POST /api-keys", a_key, keyed=True)
    get_key = Operation(nouns.ApiKey, "GET /api-keys/{}", by_id)
    revoke_key = Operation(nouns.ApiKey, "DELETE /api-keys/{}", by_id)

    get_merchant = Operation(nouns.Merchant, "GET /merchant", none)
    change_merchant = Operation(nouns.Merchant, "PATCH /merchant", fields)
    list_programs = ListOperation(nouns.Program, "GET /programs", filters)
    create_program = Operation(nouns.Program, "POST /programs", a_program, keyed=True)
    get_program = Operation(nouns.Program, "GET /programs/{}", by_id)
    change_program = Operation(nouns.Program, "PATCH /programs/{}", by_id_fields)

    list_cards = ListOperation(nouns.Card, "GET /cards", filters)
    issue_card = Operation(nouns.Card, "POST /cards", a_card, keyed=True)
    get_card = Operation(nouns.Card, "GET /cards/{}", by_id)
    change_card = Operation(nouns.Card, "PATCH /cards/{}", by_id_fields, keyed=True)
    card_entries = ListOperation(nouns.Entry, "GET /cards/{}/entries", by_id_filters)
    look_up = Operation(nouns.Card, "POST /cards/lookup", fields, repeatable=True)
    rotate_code = Operation(nouns.Card, "POST /cards/{}/rotate-code", by_id_keyed, keyed=True)
    reset_pin = Operation(nouns.Card, "POST /cards/{}/reset-pin", by_id_keyed, keyed=True)
    extend_card = Operation(nouns.Card, "POST /cards/{}/extend", an_extension, keyed=True)
    activate_card = Operation(nouns.Card, "POST /cards/{}/activate", by_id_keyed, keyed=True)
    block_card = Operation(nouns.Card, "POST /cards/{}/block", by_id_keyed, keyed=True)
    unblock_card = Operation(nouns.Card, "POST /cards/{}/unblock", by_id_keyed, keyed=True)
    close_card = Operation(nouns.Card, "POST /cards/{}/close", by_id_keyed, keyed=True)
    reinstate_card = Operation(nouns.Card, "POST /cards/{}/reinstate", by_id_keyed, keyed=True)
    make_link = Operation(nouns.CardLink, "POST /cards/{}/link", by_id_fields)
    card_voucher = FileOperation("GET /cards/{}/voucher.pdf", by_id_query)
    export_person = Operation(nouns.Person, "GET /people/export", filters)
    erase_person = Operation(nouns.Erasure, "POST /people/erase", fields, repeatable=True)

    bulk_cards = Operation(nouns.Job, "POST /cards/bulk", a_batch_of_cards, keyed=True)
    import_cards = Operation(nouns.Job, "POST /cards/import", a_file_of_cards, keyed=True)
    list_jobs = ListOperation(nouns.Job, "GET /jobs", filters)
    get_job = Operation(nouns.Job, "GET /jobs/{}", by_id)
    # An interrupted download may be repeated by the same key, from the beginning.
    take_job_codes = FileOperation("POST /jobs/{}/codes", by_id, repeatable=True)
    take_job_sheet = FileOperation("POST /jobs/{}/sheet.pdf", by_id_query, repeatable=True)
    activate_batch = Operation(nouns.Job, "POST /jobs/{}/activate", by_id_keyed, keyed=True)
    block_batch = Operation(nouns.Job, "POST /jobs/{}/block", by_id_keyed, keyed=True)
    close_batch = Operation(nouns.Job, "POST /jobs/{}/close", by_id_keyed, keyed=True)
    extend_batch = Operation(nouns.Job, "POST /jobs/{}/extend", an_extension, keyed=True)
    cancel_job = Operation(nouns.Job, "POST /jobs/{}/cancel", by_id, repeatable=True)

    redeem = Operation(nouns.Redemption, "POST /redemptions", a_spending, keyed=True)
    redeem_batch = Operation(nouns.BatchResult, "POST /redemptions/batch", a_batch, repeatable=True)
    refund = Operation(nouns.Refund, "POST /refunds", a_refund, keyed=True)
    load = Operation(nouns.Load, "POST /loads", a_load, keyed=True)
    transfer = Operation(nouns.Transfer, "POST /transfers", a_transfer, keyed=True)
    adjust = Operation(nouns.Adjustment, "POST /adjustments", an_adjustment, keyed=True)
    place_hold = Operation(nouns.Hold, "POST /holds", a_spending, keyed=True)
    capture_hold = Operation(nouns.Hold, "POST /holds/{}/capture", by_id_fields, keyed=True)
    void_hold = Operation(nouns.Hold, "POST /holds/{}/void", by_id_fields, keyed=True)
    cash_out = Operation(nouns.CashOut, "POST /cards/{}/cash-outs", by_id_fields, keyed=True)
    list_cash_outs = ListOperation(nouns.CashOut, "GET /cash-outs", filters)
    get_cash_out = Operation(nouns.CashOut, "GET /cash-outs/{}", by_id)
    list_redemptions = ListOperation(nouns.Redemption, "GET /redemptions", filters)
    list_refunds = ListOperation(nouns.Refund, "GET /refunds", filters)
    list_loads = ListOperation(nouns.Load, "GET /loads", filters)
    list_transfers = ListOperation(nouns.Transfer, "GET /transfers", filters)
    list_adjustments = ListOperation(nouns.Adjustment, "GET /adjustments", filters)
    list_holds = ListOperation(nouns.Hold, "GET /holds", filters)
    list_entries = ListOperation(nouns.Entry, "GET /entries", filters)
    get_redemption = Operation(nouns.Redemption, "GET /redemptions/{}", by_id)
    get_refund = Operation(nouns.Refund, "GET /refunds/{}", by_id)
    get_load = Operation(nouns.Load, "GET /loads/{}", by_id)
    get_transfer = Operation(nouns.Transfer, "GET /transfers/{}", by_id)
    get_adjustment = Operation(nouns.Adjustment, "GET /adjustments/{}", by_id)
    get_hold = Operation(nouns.Hold, "GET /holds/{}", by_id)
    get_entry = Operation(nouns.Entry, "GET /entries/{}", by_id)

    list_deliveries = ListOperation(nouns.Delivery, "GET /deliveries", filters)
    get_delivery = Operation(nouns.Delivery, "GET /deliveries/{}", by_id)
    change_delivery = Operation(nouns.Delivery, "PATCH /deliveries/{}", by_id_fields)
    cancel_delivery = Operation(nouns.Delivery, "POST /deliveries/{}/cancel", by_id)
    resend_delivery = Operation(nouns.Delivery, "POST /deliveries/{}/resend", by_id_fields)

    list_suppressions = ListOperation(nouns.Suppression, "GET /suppressions", filters)
    get_suppression = Operation(nouns.Suppression, "GET /suppressions/{}", by_id)
    lift_suppression = Operation(nouns.Suppression, "DELETE /suppressions/{}", by_id)

    get_balances = Operation(nouns.Balances, "GET /ledger/balances", filters)
    get_proof = Operation(nouns.Proof, "GET /ledger/proof", none)
    export_cards = FileOperation("GET /cards/export", a_period)
    export_entries = FileOperation("GET /entries/export", a_period)
    export_journal = FileOperation("GET /reports/journal", a_period)
    get_vat_report = Operation(nouns.VatReport, "GET /reports/vat", a_period)
    export_vat = FileOperation("GET /reports/vat/export", a_period)
    list_queues = ListOperation(nouns.Queue, "GET /queues", filters)
    list_events = ListOperation(nouns.Event, "GET /events", filters)
    get_event = Operation(nouns.Event, "GET /events/{}", by_id)

    list_endpoints = ListOperation(nouns.WebhookEndpoint, "GET /webhook-endpoints", filters)
    create_endpoint = Operation(
        nouns.WebhookEndpoint, "POST /webhook-endpoints", an_endpoint, keyed=True
    )
    get_endpoint = Operation(nouns.WebhookEndpoint, "GET /webhook-endpoints/{}", by_id)
    change_endpoint = Operation(nouns.WebhookEndpoint, "PATCH /webhook-endpoints/{}", by_id_fields)
    delete_endpoint = Operation(nouns.WebhookEndpoint, "DELETE /webhook-endpoints/{}", by_id)
    rotate_secret = Operation(
        nouns.WebhookEndpoint, "POST /webhook-endpoints/{}/rotate-secret", by_id
    )
    replay_events = Operation(
        nouns.WebhookEndpoint, "POST /webhook-endpoints/{}/replay", by_id_fields
    )
    list_endpoint_deliveries = ListOperation(
        nouns.WebhookDelivery, "GET /webhook-endpoints/{}/deliveries", by_id_filters
    )
    list_webhook_deliveries = ListOperation(
        nouns.WebhookDelivery, "GET /webhook-deliveries", filters
    )
    get_webhook_delivery = Operation(nouns.WebhookDelivery, "GET /webhook-deliveries/{}", by_id)
    resend_webhook_delivery = Operation(
        nouns.WebhookDelivery, "POST /webhook-deliveries/{}/resend", by_id
    )

    list_orders = ListOperation(nouns.Order, "GET /orders", filters)
    place_order = Operation(nouns.Order, "POST /orders", an_order, keyed=True)
    place_bulk_order = Operation(nouns.Order, "POST /orders/bulk", a_bulk_order, keyed=True)
    check_bulk_order = Operation(
        nouns.BulkOrderCheck, "POST /orders/bulk/check", fields, repeatable=True
    )
    list_order_recipients = ListOperation(
        nouns.OrderRecipient, "GET /orders/{}/recipients", by_id_filters
    )
    set_commission_rate = Operation(nouns.CommissionRate, "POST /commission-rates", fields)
    list_commission_rates = ListOperation(nouns.CommissionRate, "GET /commission-rates", filters)
    get_commission_rate = Operation(nouns.CommissionRate, "GET /commission-rates/{}", by_id)
    list_settlement_balances = ListOperation(
        nouns.SettlementBalance, "GET /settlement-balances", filters
    )
    export_statement = FileOperation("GET /reports/settlement", a_period)
    make_payout_batch = Operation(nouns.PayoutBatch, "POST /payout-batches", fields, keyed=True)
    list_payout_batches = ListOperation(nouns.PayoutBatch, "GET /payout-batches", filters)
    get_payout_batch = Operation(nouns.PayoutBatch, "GET /payout-batches/{}", by_id)
    export_payout_batch = FileOperation("GET /payout-batches/{}/file", by_id)
    list_payouts = ListOperation(nouns.Payout, "GET /payouts", filters)
    get_payout = Operation(nouns.Payout, "GET /payouts/{}", by_id)
    confirm_payout = Operation(nouns.Payout, "POST /payouts/{}/confirm", by_id, repeatable=True)
    fail_payout = Operation(nouns.Payout, "POST /payouts/{}/fail", by_id_fields)
    get_order = Operation(nouns.Order, "GET /orders/{}", by_id)
    cancel_order = Operation(nouns.Order, "POST /orders/{}/cancel", by_id)
    retry_order = Operation(nouns.Order, "POST /orders/{}/retry", by_id)
    refund_order = Operation(
        nouns.PaymentRefund, "POST /orders/{}/refunds", by_id_fields, keyed=True
    )
    withdraw_order = Operation(nouns.Order, "POST /orders/{}/withdraw", by_id)
    get_gateway_report = Operation(nouns.GatewayReport, "GET /reports/gateway", a_period)
    list_payments = ListOperation(nouns.Payment, "GET /payments", filters)
    get_payment = Operation(nouns.Payment, "GET /payments/{}", by_id)
    list_payment_refunds = ListOperation(nouns.PaymentRefund, "GET /payment-refunds", filters)
    get_payment_refund = Operation(nouns.PaymentRefund, "GET /payment-refunds/{}", by_id)
    list_disputes = ListOperation(nouns.Dispute, "GET /disputes", filters)
    get_dispute = Operation(nouns.Dispute, "GET /disputes/{}", by_id)
    list_gateways = ListOperation(nouns.Gateway, "GET /gateways", filters)
    connect_gateway = Operation(nouns.Gateway, "POST /gateways", fields)
    get_gateway = Operation(nouns.Gateway, "GET /gateways/{}", by_id)
    change_gateway = Operation(nouns.Gateway, "PATCH /gateways/{}", by_id_fields)
    disconnect_gateway = Operation(nouns.Gateway, "DELETE /gateways/{}", by_id)
    check_gateway = Operation(nouns.GatewayCheck, "POST /gateways/{}/test", by_id)
    receive_stripe_webhook = Operation(
        nouns.HookReceipt, "POST /hooks/stripe/{}", a_gateway_message, repeatable=True
    )
    receive_paypal_webhook = Operation(
        nouns.HookReceipt, "POST /hooks/paypal/{}", a_gateway_message, repeatable=True
    )
    receive_mail_report_hook = Operation(
        nouns.HookReceipt, "POST /hooks/mail", a_mail_report, repeatable=True
    )
    receive_twilio_report = Operation(
        nouns.HookReceipt, "POST /hooks/twilio/{}/{}/{}", a_report, repeatable=True
    )
    refund_at_test_gateway = Operation(
        nouns.Payment, "POST /test-gateway/payments/{}/refund", by_id_fields
    )
    dispute_at_test_gateway = Operation(
        nouns.Payment, "POST /test-gateway/payments/{}/dispute", by_id
    )
    win_at_test_gateway = Operation(nouns.Payment, "POST /test-gateway/payments/{}/win", by_id)
    lose_at_test_gateway = Operation(nouns.Payment, "POST /test-gateway/payments/{}/lose", by_id)

    get_test_clock = Operation(nouns.TestClock, "GET /test-clock", none)
    advance_test_clock = Operation(nouns.Job, "POST /test-clock/advance", fields, keyed=True)
