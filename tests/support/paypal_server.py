"""PayPal for tests: speaks the protocol of Orders v2 over a socket, with state and faults.

Field names are those of PayPal's published OpenAPI documents. Its methods are the buyer and the
dashboard; its switches are the faults of a network.
"""

import base64
import json
import secrets
import threading
import time
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.webhook_sender import WebhookSender

Json = dict[str, Any]
CLIENT, SECRET, WEBHOOK = "client-of-the-tests", "secret-of-the-tests", "webhook-of-the-tests"
FEE = "1.75"


class Refused(Exception):
    """A request that PayPal refuses, with the issue that it names."""

    def __init__(self, issue: str, status: int = 422) -> None:
        super().__init__(issue)
        self.status = status


@dataclass(slots=True)
class PayPalServer(WebhookSender):
    """Its state, and the switches of its faults."""

    port: int = 0
    away: bool = False
    drop_answers: int = 0  # close the connection after the effect of a POST, so many times
    decline: bool = False  # the next capture finds no money
    poor: bool = False  # the account has no money for refunds
    pending: bool = False  # the next capture waits for a review
    fee_currency: str | None = None  # None: that of the payment
    log: list[str] = field(default_factory=list[str])
    orders: dict[str, Json] = field(default_factory=dict[str, Json])
    refunds: dict[str, Json] = field(default_factory=dict[str, Json])
    disputes: dict[str, Json] = field(default_factory=dict[str, Json])
    events: list[Json] = field(default_factory=list[Json])
    _keys: dict[str, tuple[str, int, Json]] = field(
        default_factory=dict[str, tuple[str, int, Json]]
    )
    _signed: dict[str, str] = field(default_factory=dict[str, str])
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # What the buyer and the dashboard do.

    def approve(self, order: str) -> None:
        with self._lock:
            found = self.orders[order]
            if found["status"] not in {"CREATED", "PAYER_ACTION_REQUIRED"}:
                return
            found["status"] = "APPROVED"
        self.happened("CHECKOUT.ORDER.APPROVED", found)

    def complete(self, order: str) -> None:
        """A pending capture completes."""
        with self._lock:
            [capture] = self._captures(order)
            capture["status"] = "COMPLETED"
            self._receive(capture)
        self.happened("PAYMENT.CAPTURE.COMPLETED", capture)

    def refund(self, order: str, value: str) -> None:
        with self._lock:
            [capture] = self._captures(order)
            made = self._refund(capture, {"value": value, "currency_code": "EUR"}, None)
        self.happened("PAYMENT.CAPTURE.REFUNDED", made)

    def dispute(self, order: str) -> str:
        with self._lock:
            [capture] = self._captures(order)
            made: Json = {
                "dispute_id": f"PP-D-{secrets.randbelow(10**6)}",
                "status": "WAITING_FOR_SELLER_RESPONSE",
                "seller_response_due_date": "2099-01-01T00:00:00.000Z",
                "dispute_life_cycle_stage": "CHARGEBACK",
                "dispute_amount": dict(capture["amount"]),
                "disputed_transactions": [{"seller_transaction_id": capture["id"]}],
            }
            self.disputes[made["dispute_id"]] = made
        self.happened("CUSTOMER.DISPUTE.CREATED", made)
        return str(made["dispute_id"])

    def resolve(self, dispute: str, outcome: str | None) -> None:
        with self._lock:
            made = self.disputes[dispute]
            made |= {"status": "RESOLVED", "dispute_outcome": {"outcome_code": outcome}}
        self.happened("CUSTOMER.DISPUTE.RESOLVED", made)

    # Its own affairs.

    def happened(self, kind: str, noun: Json) -> None:
        with self._lock:
            event: Json = {
                "id": f"WH-{secrets.token_hex(12)}",
                "event_type": kind,
                "create_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "resource": json.loads(json.dumps(noun)),
            }
            self.events.insert(0, event)
        self.send_webhook(event)

    def sign(self, body: bytes) -> dict[str, str]:
        """The headers of a webhook: the signature covers the CRC-32 of the raw body."""
        named = {
            "paypal-transmission-id": secrets.token_hex(8),
            "paypal-transmission-time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "paypal-cert-url": f"{self.url}/v1/notifications/certs/CERT",
            "paypal-auth-algo": "SHA256withRSA",
        }
        signature = secrets.token_hex(16)
        signed = f"{named['paypal-transmission-id']}|{WEBHOOK}|{zlib.crc32(body)}"
        with self._lock:
            self._signed[signature] = signed
        return {**named, "paypal-transmission-sig": signature}

    def _verify(self, raw: bytes) -> Json:
        """The CRC of the event as it was sent on: a body that was written anew differs."""
        asked: Json = json.loads(raw)
        start = raw.index(b'"webhook_event":') + len(b'"webhook_event":')
        _, length = json.JSONDecoder().raw_decode(raw[start:].decode())
        event = raw[start:].decode()[:length].encode()
        signed = f"{asked['transmission_id']}|{asked['webhook_id']}|{zlib.crc32(event)}"
        right = self._signed.get(asked["transmission_sig"]) == signed
        return {"verification_status": "SUCCESS" if right else "FAILURE"}

    def request(
        self, method: str, path: str, query: Json, body: bytes, key: str | None
    ) -> tuple[int, Json]:
        with self._lock:
            self.log.append(f"{method} {path}")
            if key is not None and key in self._keys:
                before, status, answer = self._keys[key]
                assert before == f"{method} {path}", "one key for two requests"
                return status, answer
            try:
                status, answer = self._route(method, path, query, body)
            except Refused as refused:
                issue = {"name": "UNPROCESSABLE_ENTITY", "message": "refused"}
                return refused.status, {**issue, "details": [{"issue": str(refused)}]}
            if key is not None:
                self._keys[key] = (f"{method} {path}", status, json.loads(json.dumps(answer)))
            return status, answer

    def _route(self, method: str, path: str, query: Json, body: bytes) -> tuple[int, Json]:
        parts = path.strip("/").split("/")
        if path == "/v1/notifications/verify-webhook-signature":
            return 200, self._verify(body)
        if path == "/v1/notifications/webhooks-events":
            return 200, {"events": self._events(query)}
        if path == "/v1/customer/disputes":
            wanted = query["disputed_transaction_id"]
            found = [
                each
                for each in self.disputes.values()
                if each["disputed_transactions"][0]["seller_transaction_id"] == wanted
            ]
            return 200, {"items": [_summary(each) for each in found]}
        if parts[:3] == ["v1", "customer", "disputes"]:
            if parts[3] not in self.disputes:
                raise Refused("RESOURCE_NOT_FOUND", 404)
            return 200, self.disputes[parts[3]]
        if path == "/v2/checkout/orders" and method == "POST":
            return 200, self._order(json.loads(body))
        if parts[:3] == ["v2", "checkout", "orders"]:
            order = self.orders.get(parts[3])
            if order is None:
                raise Refused("RESOURCE_NOT_FOUND", 404)
            return (201, self._capture(order)) if parts[-1] == "capture" else (200, order)
        if parts[:3] == ["v2", "payments", "captures"] and parts[-1] == "refund":
            capture = next(c for o in self.orders for c in self._captures(o) if c["id"] == parts[3])
            asked = json.loads(body)
            return 201, self._refund(capture, asked["amount"], asked.get("custom_id"))
        raise Refused("NOT_FOUND", 404)

    def _events(self, query: Json) -> list[Json]:
        """The newest of a window, at most so many as are asked for, and never more than 300."""
        inside = [
            each
            for each in self.events
            if query["start_time"] <= each["create_time"] <= query["end_time"]
        ]
        return inside[: min(int(query["page_size"]), 300)]

    def _order(self, asked: Json) -> Json:
        [unit] = asked["purchase_units"]
        if any(
            o["purchase_units"][0]["invoice_id"] == unit["invoice_id"] for o in self.orders.values()
        ):
            raise Refused("DUPLICATE_INVOICE_ID")
        value = unit["amount"]["value"]
        if len(value.partition(".")[2]) != 2:
            raise Refused("DECIMAL_PRECISION")
        made: Json = {
            "id": secrets.token_hex(9).upper()[:17],
            "intent": asked["intent"],
            "status": "PAYER_ACTION_REQUIRED",
            "purchase_units": [unit],
        }
        made["links"] = [{"rel": "payer-action", "href": f"{self.url}/checkoutnow/{made['id']}"}]
        self.orders[made["id"]] = made
        return made

    def _capture(self, order: Json) -> Json:
        if order["status"] == "COMPLETED":
            raise Refused("ORDER_ALREADY_CAPTURED")
        if order["status"] != "APPROVED":
            raise Refused("ORDER_NOT_APPROVED")
        if self.decline:
            self.decline = False
            order["status"] = "PAYER_ACTION_REQUIRED"
            raise Refused("INSTRUMENT_DECLINED")
        [unit] = order["purchase_units"]
        capture: Json = {
            "id": secrets.token_hex(9).upper()[:17],
            "status": "PENDING" if self.pending else "COMPLETED",
            "amount": dict(unit["amount"]),
            "custom_id": unit["custom_id"],
            "invoice_id": unit["invoice_id"],
            "supplementary_data": {"related_ids": {"order_id": order["id"]}},
        }
        if self.pending:
            capture["status_details"] = {"reason": "PENDING_REVIEW"}
        else:
            self._receive(capture)
        self.pending = False
        unit["payments"] = {"captures": [capture]}
        order["status"] = "COMPLETED"
        self.happened(f"PAYMENT.CAPTURE.{capture['status']}", capture)
        return order

    def _receive(self, capture: Json) -> None:
        capture.pop("status_details", None)
        currency = self.fee_currency or capture["amount"]["currency_code"]
        fee = {"value": FEE, "currency_code": currency}
        capture["seller_receivable_breakdown"] = {"paypal_fee": fee}

    def _captures(self, order: str) -> list[Json]:
        found: list[Json] = (
            self.orders[order]["purchase_units"][0].get("payments", {}).get("captures", [])
        )
        return found

    def _refund(self, capture: Json, amount: Json, mark: str | None) -> Json:
        order = capture["supplementary_data"]["related_ids"]["order_id"]
        payments = self.orders[order]["purchase_units"][0]["payments"]
        before: list[Json] = payments.setdefault("refunds", [])
        taken = sum(Decimal(each["amount"]["value"]) for each in before)
        whole = Decimal(capture["amount"]["value"])
        if self.poor:
            raise Refused("REFUND_FAILED_INSUFFICIENT_FUNDS")
        if taken >= whole:
            raise Refused("CAPTURE_FULLY_REFUNDED")
        if taken + Decimal(amount["value"]) > whole:
            raise Refused("REFUND_AMOUNT_EXCEEDED")
        made: Json = {
            "id": secrets.token_hex(9).upper()[:17],
            "status": "COMPLETED",
            "amount": dict(amount),
            "links": [{"rel": "up", "href": f"{self.url}/v2/payments/captures/{capture['id']}"}],
            **({"custom_id": mark} if mark is not None else {}),
        }
        before.append(made)
        self.refunds[made["id"]] = made
        capture["status"] = (
            "REFUNDED" if taken + Decimal(amount["value"]) == whole else "PARTIALLY_REFUNDED"
        )
        return made


def _summary(dispute: Json) -> Json:
    """A dispute as the list of disputes has it: without its outcome."""
    shown = ("dispute_id", "status", "dispute_life_cycle_stage", "dispute_amount")
    return {name: dispute[name] for name in shown}


@contextmanager
def paypal_server() -> Generator[PayPalServer]:
    """Run it on a free port."""
    server = PayPalServer()
    token = secrets.token_hex(16)
    basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name
            del format, args

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            url = urlsplit(self.path)
            said = self.headers.get("authorization", "")
            key = self.headers.get("paypal-request-id")
            if server.away:
                self.close_connection = True
                return
            if url.path == "/v1/oauth2/token":
                right = said == f"Basic {basic}"
                granted = {"access_token": token, "expires_in": 32400}
                status, answer = (200, granted) if right else (401, {"error": "invalid_client"})
            elif said != f"Bearer {token}":
                status, answer = 401, {"name": "AUTHENTICATION_FAILURE"}
            else:
                query = dict(parse_qsl(url.query))
                status, answer = server.request(self.command, url.path, query, body, key)
            if server.chaos is not None and server.chaos.random() < 0.15:
                self.close_connection = True
                return
            if server.drop_answers and key is not None:
                server.drop_answers -= 1
                self.close_connection = True
                return
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _answer  # noqa: N815 -- the library's names

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(10)
