"""Calls: one of each operation of the OpenAPI document, through the SDK, in an order that works.

A new operation needs one line here, and one in florin_client/operations.py. What a call makes is
kept in `World.made` for the calls after it.
"""

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from florin_client import ApiError, Florin
from florin_client.calls import Call
from florin_client.nouns import Order
from tests.orders.selling import OWN_STRIPE
from tests.support.instance import NO_TLS

T = TypeVar("T")
PASSWORD = "correct horse battery"
EXPIRES = datetime(2050, 1, 1, tzinfo=UTC)
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
ALL = ["cards:read", "cards:write"]


class RecordingFlorin(Florin):
    """A client that records which operations were sent."""

    def __init__(self, url: str) -> None:
        super().__init__(url, http=httpx.Client(verify=NO_TLS, timeout=60), budget_s=20)
        self.sent: list[str] = []

    def send(self, call: Call[T]) -> T:
        self.sent.append(call.operation)
        return super().send(call)

    def save(self, call: Call[bytes], path: Path) -> Path:
        self.sent.append(call.operation)
        return super().save(call, path)


@dataclass(slots=True)
class World:
    """A test merchant, its owner's client, and what was made."""

    florin: RecordingFlorin
    folder: Path
    email_token: Callable[[str, str], str]
    made: dict[str, Any] = field(default_factory=dict[str, Any])
    email: str = field(default_factory=lambda: f"owner.{secrets.token_hex(6)}@shop.example")

    def keep(self, name: str, made: Any) -> Any:
        self.made[name] = made
        return made

    def id(self, name: str) -> str:
        return str(self.made[name].id)


def refused(code: str, call: Callable[[], Any]) -> None:
    """The call reaches its route, which refuses it with this code."""
    with pytest.raises(ApiError) as caught:
        call()
    assert caught.value.code == code, caught.value


def _register(w: World) -> None:
    merchant = {"name": "Shop", "country": "NL", "currency": "EUR", "test": True}
    made = w.florin.register_merchant(w.email, PASSWORD, merchant)
    w.florin.token = made.access_token
    w.keep("tokens", made)


def _sign_in(w: World) -> None:
    w.keep("second", w.florin.sign_in(email=w.email, password=PASSWORD))
    w.keep("session", w.florin.list_sessions().data[0])


def _refresh(w: World) -> None:
    w.florin.refresh(refresh_token=w.made["second"].refresh_token)


def _logout(w: World) -> None:
    own = w.florin.token
    w.florin.token = w.florin.sign_in(email=w.email, password=PASSWORD).access_token
    w.florin.logout()
    w.florin.token = own


def _change_password(w: World) -> None:
    w.florin.change_password(current_password=PASSWORD, password=f"{PASSWORD} 2")
    again = w.florin.sign_in(email=w.email, password=f"{PASSWORD} 2")
    w.florin.token = again.access_token


def _accept_invitation(w: World) -> None:
    token = w.email_token(w.made["member"].email, "invitation")
    w.florin.accept_invitation(token=token, password=PASSWORD)


def _reset_password(w: World) -> None:
    token = w.email_token(w.made["member"].email, "password_reset")
    w.florin.reset_password(token=token, password=f"{PASSWORD} 3")


def _verify_email(w: World) -> None:
    token = w.email_token(w.email, "email_verification")
    assert w.florin.verify_email(token=token).email_verified


def _enrol(w: World) -> None:
    made = w.florin.enrol(password=f"{PASSWORD} 2")
    w.keep("enrolment", made)


def _confirm(w: World) -> None:
    key = base64.b32decode(w.made["enrolment"].secret)
    code = TOTP(key, 6, SHA1(), 30).generate(int(time.time())).decode()  # noqa: S303 -- RFC 6238
    w.keep("recovery", w.florin.confirm(code=code).recovery_codes)


def _second_factor(w: World) -> None:
    with pytest.raises(ApiError) as needed:
        w.florin.sign_in(email=w.email, password=f"{PASSWORD} 2")
    token = needed.value.problem["mfa_token"]
    w.florin.token = w.florin.second_factor(
        mfa_token=token, code=w.made["recovery"].pop()
    ).access_token


def _renew_recovery(w: World) -> None:
    code = w.made["recovery"].pop()
    again = w.florin.renew_recovery(password=f"{PASSWORD} 2", code=code)
    w.keep("recovery", again.recovery_codes)


def _codes(w: World) -> None:
    job = w.florin.wait_for_job(w.id("bulk"))
    path = w.florin.take_job_codes.save(w.folder / "codes.csv", job.id)
    assert len(path.read_text("utf-8").splitlines()) == 1 + job.total


def _sheet(w: World) -> None:
    job = w.florin.wait_for_job(w.florin.bulk_cards(w.id("program"), 100, 2).id)
    assert w.florin.take_job_sheet(job.id, paper="us-letter").startswith(b"%PDF")


def _import(w: World) -> None:
    file = w.folder / "cards.csv"
    file.write_text("amount,recipient_email\n2500,a@home.example\n", "utf-8")
    made = w.florin.import_cards(file, count=1, amount=2500, program=w.id("program"))
    assert w.florin.wait_for_job(made.id).done == 1


def _extend_batch(w: World) -> None:
    made = w.florin.extend_batch(w.id("bulk"), EXPIRES, "a promise")
    assert w.florin.wait_for_job(made.id).done == w.made["bulk"].total


def _spend_batch(w: World) -> None:
    item = {"card": w.id("card"), "amount": 100, "currency": "EUR"}
    two = [item | {"idempotency_key": "one"}, item | {"idempotency_key": "two", "amount": 10**7}]
    done, not_done = w.florin.redeem_batch(two).data
    assert done.redemption is not None
    assert not_done.problem is not None
    assert (done.status, not_done.problem["code"]) == (201, "insufficient_funds")


def _lists(name: str) -> Callable[[World], None]:
    """All pages of a list, by steps of one, are its first page."""

    def call(w: World) -> None:
        listing = getattr(w.florin, name)
        whole = [each.id for each in listing(limit=100).data][:5]
        assert whole
        paged = [each.id for each, _ in zip(listing.all(limit=1), whole, strict=False)]
        assert paged == whole

    return call


def _gets(name: str, kind: str) -> Callable[[World], None]:
    def call(w: World) -> None:
        found = getattr(w.florin, name)(w.id(kind))
        assert (found.id, found.raw["id"]) == (w.id(kind), w.id(kind))

    return call


def _gives(name: str, keep: str, *ids: str, **given: Any) -> Callable[[World], None]:
    """Call with the ids of what was made, and with these fields; keep the answer."""

    def call(w: World) -> None:
        w.keep(keep, getattr(w.florin, name)(*(w.id(each) for each in ids), **given))

    return call


def _placed_order(w: World) -> Order:
    items = [{"program": w.id("program"), "amount": 1000}]
    return w.florin.place_order(items, {"email": "b@home.example"})


def _paid_order(w: World) -> Order:
    order = _placed_order(w)
    assert order.pay_url is not None
    assert w.florin.http.post(order.pay_url, data={"outcome": "paid"}).status_code == 303
    return order


def _order(w: World) -> None:
    order = w.keep("order", _paid_order(w))
    w.keep("payment", w.florin.get_payment(order.payment))


def _paid_dispute(w: World, end: str) -> None:
    order = _paid_order(w)
    w.florin.dispute_at_test_gateway(order.payment)
    getattr(w.florin, end)(order.payment)


def _refund_at_gateway(w: World) -> None:
    w.florin.refund_at_test_gateway(_paid_order(w).payment, amount=10)


def _dispute(w: World) -> None:
    w.florin.dispute_at_test_gateway(w.id("payment"))
    w.keep("dispute", w.florin.list_disputes(payment=w.id("payment")).data[0])


def _replay(w: World) -> None:
    w.florin.replay_events(w.id("endpoint"), since=datetime.now(UTC) - timedelta(minutes=1))


def _webhook_delivery(w: World) -> None:
    deadline = time.monotonic() + 20
    while not (made := w.florin.list_endpoint_deliveries(w.id("endpoint")).data):  # by a worker
        assert time.monotonic() < deadline
        time.sleep(0.1)
    w.keep("webhook_delivery", w.florin.get_webhook_delivery(made[0].id))


def _stream(w: World) -> None:
    oldest = list(w.florin.list_events.all(limit=100))[-1]
    with w.florin.follow_events(since=oldest.id) as stream:
        after = next(stream)
    assert after.created_at >= oldest.created_at
    assert stream.last_id == after.id != oldest.id
    w.florin.sent.append("follow_events")


def _file(name: str, begins: bytes, **given: Any) -> Callable[[World], None]:
    def call(w: World) -> None:
        assert getattr(w.florin, name)(**given).startswith(begins)

    return call


def _voucher(w: World) -> None:
    assert w.florin.card_voucher(w.id("card"), paper="a4").startswith(b"%PDF")


def _advance(w: World) -> None:
    now = w.florin.get_test_clock().now
    job = w.florin.advance_test_clock(to=now + timedelta(days=1))
    assert w.florin.wait_for_job(job.id).state == "finished"


_GIFT: dict[str, Any] = {
    "recipient": {"name": "Tomás", "email": "tomas@home.example"},
    "deliver": {"channel": "email", "at": "2049-12-24T09:00", "timezone": "Europe/Berlin"},
}
_LIST = "email,name\nada@home.example,Ada\nben@home.example,Ben\n"
_NO_ID = "{}_" + "0" * 32
_SPEND: dict[str, Any] = {"amount": 100, "currency": "EUR"}

CALLS: dict[str, Callable[[World], Any]] = {
    "register_merchant": _register,
    "sign_in": _sign_in,
    "refresh": _refresh,
    "logout": _logout,
    "prove_again": lambda w: w.florin.prove_again(password=PASSWORD),
    "change_password": _change_password,
    "get_notices": lambda w: w.florin.get_notices(),
    "change_notices": lambda w: w.florin.change_notices(about=["job.finished"]),
    "ask_for_verification": lambda w: w.florin.ask_for_verification(email=w.email),
    "verify_email": _verify_email,
    "me": lambda w: w.florin.me(),
    "get_merchant": lambda w: w.florin.get_merchant(),
    "change_merchant": lambda w: w.florin.change_merchant(name="Shop by the sea"),
    "list_sessions": _lists("list_sessions"),
    "get_session": _gets("get_session", "session"),
    "end_session": lambda w: w.florin.end_session(w.id("session")),
    "add_member": lambda w: w.keep(
        "member", w.florin.add_member(email=f"till.{w.email}", role="cashier")
    ),
    "accept_invitation": _accept_invitation,
    "list_members": _lists("list_members"),
    "get_member": _gets("get_member", "member"),
    "change_member": _gives("change_member", "member", "member", role="viewer"),
    "ask_for_reset": lambda w: w.florin.ask_for_reset(email=w.made["member"].email),
    "reset_password": _reset_password,
    "reset_second_factor": _gives("reset_second_factor", "member", "member"),
    "remove_member": lambda w: w.florin.remove_member(w.id("member"), keep_keys=False),
    "create_key": lambda w: w.keep("key", w.florin.create_key("till", ALL)),
    "list_keys": _lists("list_keys"),
    "get_key": _gets("get_key", "key"),
    "revoke_key": _gets("revoke_key", "key"),
    "create_program": lambda w: w.keep(
        "program",
        w.florin.create_program("Gift", "EUR", 1, 10**6, pin=True, expires_after_months=9),
    ),
    "list_programs": _lists("list_programs"),
    "get_program": _gets("get_program", "program"),
    "change_program": lambda w: w.florin.change_program(
        w.id("program"), name="Gift card", cash_out_limit=10**6
    ),
    "create_endpoint": lambda w: w.keep(
        "endpoint", w.florin.create_endpoint("https://hooks.example.com/", ["*"])
    ),
    "issue_card": lambda w: (
        w.keep("card", w.florin.issue_card(w.id("program"), 50_000)),
        w.keep("other", w.florin.issue_card(w.id("program"), 50_000, activate=False)),
        w.keep("gift", w.florin.issue_card(w.id("program"), 5_000, **_GIFT)),
    ),
    "list_cards": _lists("list_cards"),
    "get_card": _gets("get_card", "card"),
    "look_up": lambda w: w.florin.look_up(code=w.made["card"].code),
    "change_card": lambda w: w.florin.change_card(w.id("card"), metadata={"a": "b"}),
    "activate_card": lambda w: w.florin.activate_card(w.id("other")),
    "block_card": lambda w: w.florin.block_card(w.id("other")),
    "unblock_card": lambda w: w.florin.unblock_card(w.id("other")),
    "extend_card": lambda w: w.florin.extend_card(w.id("card"), EXPIRES, "a promise"),
    "reset_pin": lambda w: w.florin.reset_pin(w.id("other")),
    "card_voucher": _voucher,
    "make_link": lambda w: w.florin.make_link(w.id("card")),
    "card_entries": lambda w: list(w.florin.card_entries.all(w.id("card"), limit=1)),
    "redeem": lambda w: w.keep("redemption", w.florin.redeem(card=w.id("card"), **_SPEND)),
    "redeem_batch": _spend_batch,
    "refund": lambda w: w.keep("refund", w.florin.refund(w.id("redemption"), amount=10)),
    "load": lambda w: w.keep("load", w.florin.load(w.id("card"), 100)),
    "transfer": lambda w: w.keep("transfer", w.florin.transfer(w.id("card"), w.id("other"), 10)),
    "adjust": lambda w: w.keep("adjustment", w.florin.adjust(w.id("card"), -1, "a reason")),
    "cash_out": _gives("cash_out", "cash_out", "card", amount=1),
    "list_cash_outs": _lists("list_cash_outs"),
    "get_cash_out": _gets("get_cash_out", "cash_out"),
    "place_hold": lambda w: (
        w.keep("hold", w.florin.place_hold(card=w.id("card"), **_SPEND)),
        w.keep("hold2", w.florin.place_hold(card=w.id("card"), **_SPEND, expires_in=60)),
    ),
    "capture_hold": lambda w: w.florin.capture_hold(w.id("hold"), amount=50),
    "void_hold": lambda w: w.florin.void_hold(w.id("hold2")),
    "list_redemptions": _lists("list_redemptions"),
    "get_redemption": _gets("get_redemption", "redemption"),
    "list_refunds": _lists("list_refunds"),
    "get_refund": _gets("get_refund", "refund"),
    "list_loads": _lists("list_loads"),
    "get_load": _gets("get_load", "load"),
    "list_transfers": _lists("list_transfers"),
    "get_transfer": _gets("get_transfer", "transfer"),
    "list_adjustments": _lists("list_adjustments"),
    "get_adjustment": _gets("get_adjustment", "adjustment"),
    "list_holds": _lists("list_holds"),
    "get_hold": _gets("get_hold", "hold"),
    "list_entries": lambda w: (
        _lists("list_entries")(w),
        w.keep("entry", w.florin.list_entries(limit=1).data[0]),
    ),
    "get_entry": _gets("get_entry", "entry"),
    "rotate_code": lambda w: w.florin.rotate_code(w.id("card")),
    "close_card": lambda w: refused("card_not_empty", lambda: w.florin.close_card(w.id("card"))),
    "reinstate_card": lambda w: w.florin.reinstate_card(w.id("card")),
    "list_deliveries": lambda w: (
        _lists("list_deliveries")(w),
        w.keep("delivery", w.florin.list_deliveries(card=w.id("gift")).data[0]),
    ),
    "get_delivery": _gets("get_delivery", "delivery"),
    "change_delivery": lambda w: w.florin.change_delivery(
        w.id("delivery"), address="ana@home.example"
    ),
    "cancel_delivery": _gets("cancel_delivery", "delivery"),
    "resend_delivery": _gives("resend_delivery", "delivery", "delivery", rotate_code=False),
    "bulk_cards": lambda w: w.keep("bulk", w.florin.bulk_cards(w.id("program"), 100, 3)),
    "list_jobs": _lists("list_jobs"),
    "get_job": _gets("get_job", "bulk"),
    "take_job_codes": _codes,
    "take_job_sheet": _sheet,
    "activate_batch": _gives("activate_batch", "batch", "bulk"),
    "block_batch": lambda w: (
        w.florin.wait_for_job(w.id("batch")),
        w.keep("batch", w.florin.block_batch(w.id("bulk"))),
    ),
    "extend_batch": lambda w: (w.florin.wait_for_job(w.id("batch")), _extend_batch(w)),
    "close_batch": _gives("close_batch", "batch", "bulk"),
    "cancel_job": _gives("cancel_job", "batch", "batch"),
    "import_cards": _import,
    "export_person": lambda w: w.florin.export_person(email="tomas@home.example"),
    "erase_person": lambda w: w.florin.erase_person(email="tomas@home.example"),
    "get_balances": lambda w: w.florin.get_balances(currency="EUR"),
    "get_proof": lambda w: w.florin.get_proof(),
    "export_cards": _file("export_cards", b"card,"),
    "export_entries": _file("export_entries", b"entry,"),
    "export_journal": _file("export_journal", b"date,"),
    "get_vat_report": lambda w: w.florin.get_vat_report(from_=BEGUN, to=BEGUN),
    "export_vat": _file("export_vat", b"month,"),
    "list_queues": lambda w: w.florin.list_queues(),
    "list_events": lambda w: (
        _lists("list_events")(w),
        w.keep("event", w.florin.list_events(card=w.id("card")).data[0]),
    ),
    "get_event": _gets("get_event", "event"),
    "follow_events": _stream,
    "list_endpoints": _lists("list_endpoints"),
    "get_endpoint": _gets("get_endpoint", "endpoint"),
    "change_endpoint": lambda w: w.florin.change_endpoint(w.id("endpoint"), events=["card.*"]),
    "rotate_secret": lambda w: w.florin.rotate_secret(w.id("endpoint")),
    "get_webhook_delivery": _webhook_delivery,
    "list_endpoint_deliveries": lambda w: list(
        w.florin.list_endpoint_deliveries.all(w.id("endpoint"))
    ),
    "list_webhook_deliveries": _lists("list_webhook_deliveries"),
    "resend_webhook_delivery": _gets("resend_webhook_delivery", "webhook_delivery"),
    "replay_events": _replay,
    "delete_endpoint": _gets("delete_endpoint", "endpoint"),
    "place_order": _order,
    "get_payment": _gets("get_payment", "payment"),
    "check_bulk_order": lambda w: w.florin.check_bulk_order(
        program=w.id("program"), recipients=_LIST, amount=100
    ),
    "place_bulk_order": lambda w: w.keep(
        "bulk_order",
        w.florin.place_bulk_order(w.id("program"), _LIST, {"email": "b@home.example"}, amount=100),
    ),
    "list_order_recipients": lambda w: list(
        w.florin.list_order_recipients.all(w.id("bulk_order"), limit=1)
    ),
    # Only a merchant that FLORIN_OPERATORS names pays others out.
    "set_commission_rate": lambda w: refused(
        "forbidden",
        lambda: w.florin.set_commission_rate(merchant=w.florin.get_merchant().id, basis_points=1),
    ),
    "list_commission_rates": lambda w: w.florin.list_commission_rates(),
    "get_commission_rate": lambda w: refused(
        "not_found", lambda: w.florin.get_commission_rate(_NO_ID.format("cmr"))
    ),
    "list_settlement_balances": lambda w: w.florin.list_settlement_balances(),
    "export_statement": _file("export_statement", b"created_at,"),
    "make_payout_batch": lambda w: refused(
        "forbidden", lambda: w.florin.make_payout_batch(currency="EUR")
    ),
    "list_payout_batches": lambda w: w.florin.list_payout_batches(),
    "get_payout_batch": lambda w: refused(
        "not_found", lambda: w.florin.get_payout_batch(_NO_ID.format("pob"))
    ),
    "export_payout_batch": lambda w: refused(
        "not_found", lambda: w.florin.export_payout_batch(_NO_ID.format("pob"))
    ),
    "list_payouts": lambda w: w.florin.list_payouts(),
    "get_payout": lambda w: refused("not_found", lambda: w.florin.get_payout(_NO_ID.format("pyo"))),
    "confirm_payout": lambda w: refused(
        "forbidden", lambda: w.florin.confirm_payout(_NO_ID.format("pyo"))
    ),
    "fail_payout": lambda w: refused(
        "forbidden", lambda: w.florin.fail_payout(_NO_ID.format("pyo"), reason="r")
    ),
    "list_orders": _lists("list_orders"),
    "get_order": _gets("get_order", "order"),
    "refund_order": _gives("refund_order", "payment_refund", "order", amount=10),
    "list_payments": _lists("list_payments"),
    "list_payment_refunds": _lists("list_payment_refunds"),
    "get_payment_refund": _gets("get_payment_refund", "payment_refund"),
    "dispute_at_test_gateway": _dispute,
    "list_disputes": _lists("list_disputes"),
    "get_dispute": _gets("get_dispute", "dispute"),
    "win_at_test_gateway": lambda w: _paid_dispute(w, "win_at_test_gateway"),
    "lose_at_test_gateway": lambda w: _paid_dispute(w, "lose_at_test_gateway"),
    "refund_at_test_gateway": _refund_at_gateway,
    "cancel_order": lambda w: w.florin.cancel_order(_placed_order(w).id),
    "retry_order": lambda w: refused(
        "order_not_payable", lambda: w.florin.retry_order(w.id("order"))
    ),
    "withdraw_order": lambda w: w.florin.withdraw_order(_paid_order(w).id),
    "get_gateway_report": lambda w: w.florin.get_gateway_report(from_=EXPIRES, to=EXPIRES),
    "connect_gateway": lambda w: w.keep("gateway", w.florin.connect_gateway(**OWN_STRIPE)),
    "list_gateways": _lists("list_gateways"),
    "get_gateway": _gets("get_gateway", "gateway"),
    "change_gateway": lambda w: w.florin.change_gateway(w.id("gateway"), state="on"),
    "disconnect_gateway": _gets("disconnect_gateway", "gateway"),
    "check_gateway": lambda w: refused(  # it would ask the gateway itself
        "not_found", lambda: w.florin.check_gateway("gtw_" + "0" * 32)
    ),
    "receive_stripe_webhook": lambda w: refused(
        "not_found", lambda: w.florin.receive_stripe_webhook("default", b"{}", {})
    ),
    "receive_paypal_webhook": lambda w: refused(
        "not_found", lambda: w.florin.receive_paypal_webhook("default", b"{}", {})
    ),
    "receive_mail_report_hook": lambda w: refused(
        "not_found", lambda: w.florin.receive_mail_report_hook(b"{}", {})
    ),
    "list_suppressions": lambda w: w.florin.list_suppressions(address="a@home.example"),
    "get_suppression": lambda w: refused(
        "not_found", lambda: w.florin.get_suppression("sup_" + "0" * 32)
    ),
    "lift_suppression": lambda w: refused(
        "not_found", lambda: w.florin.lift_suppression("sup_" + "0" * 32)
    ),
    "receive_twilio_report": lambda w: refused(
        "not_found", lambda: w.florin.receive_twilio_report("mer_1", "dlv_1", 1, b"", {})
    ),
    "get_test_clock": lambda w: w.florin.get_test_clock(),
    "advance_test_clock": _advance,
    "list_audit": lambda w: (
        _lists("list_audit")(w),
        w.keep("record", w.florin.list_audit(limit=1).data[0]),
    ),
    "get_audit": _gets("get_audit", "record"),
    "enrol": _enrol,
    "confirm": _confirm,
    "second_factor": _second_factor,
    "renew_recovery": _renew_recovery,
    "disable": lambda w: w.florin.disable(password=f"{PASSWORD} 2", code=w.made["recovery"].pop()),
}
