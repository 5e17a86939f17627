"""Stripe for tests: speaks Stripe's protocol over a socket and is driven by the real stripe-python.

It keeps sessions, intents, refunds, disputes and events, honours idempotency keys, checks the
parameters against the types of the SDK, and signs webhooks. Its methods are the dashboard and the
buyer; its switches are the faults of a network.
"""

import functools
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any, cast, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlsplit

from tests.support.webhook_sender import WebhookSender

Json = dict[str, Any]
KEY = "sk_test_of_the_tests_0123456789"
SECRET = "whsec_of_the_tests_0123456789"
OWN_KEY = "rk_test_of_a_merchant_0123456789"  # of an account of its own
FEE = 59  # of each charge, in the minor unit
_SESSION: Any = import_module("stripe.params.checkout._session_create_params").SessionCreateParams
_OPTIONS: Any = import_module("stripe").RequestOptions.__annotations__
_REFUND: Any = import_module("stripe.params._refund_create_params").RefundCreateParams


def unfold(pairs: list[tuple[str, str]]) -> Json:
    """`a[b][0][c]=d` as nested dictionaries; numbered ones become lists."""
    root: Json = {}
    for name, value in pairs:
        parts = name.replace("]", "").split("[")
        at = root
        for part in parts[:-1]:
            at = at.setdefault(part, {})
        at[parts[-1]] = value
    folded: Json = _lists(root)
    return folded


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    given: Json = cast("Json", value)
    found: Json = {name: _lists(each) for name, each in given.items()}
    if found and all(name.isdecimal() for name in found):
        return [found[name] for name in sorted(found, key=int)]
    return found


@functools.cache
def _parameters(kind: Any) -> Json:
    """The parameters of a request by the SDK's own type, without the SDK's options."""
    hints = get_type_hints(kind, localns={"StripeContext": object, "Mapping": Mapping})
    return {name: hint for name, hint in hints.items() if name not in _OPTIONS}


def check(kind: Any, given: Json, path: str = "") -> str | None:
    """The path of a parameter that the SDK's type does not have, or that is no whole number."""
    hints = _parameters(kind)
    for name, value in given.items():
        if name not in hints:
            return path + name
        for inner in _options(hints[name]):
            if inner is int and isinstance(value, str) and not value.isdecimal():
                return path + name
            several = cast("list[Any]", value if isinstance(value, list) else [value])
            for each in several:
                if isinstance(each, dict) and hasattr(inner, "__required_keys__"):
                    nested = cast("Json", each)
                    wrong = check(inner, nested, f"{path}{name}.")
                    if wrong is not None:
                        return wrong
    return None


def _options(hint: Any) -> list[Any]:
    """The types inside of NotRequired, Union, Literal and List."""
    if get_origin(hint) is None:
        return [hint]
    return [inner for each in get_args(hint) for inner in _options(each)]


@dataclass(slots=True)
class StripeServer(WebhookSender):
    """Its state, and the switches of its faults."""

    port: int = 0
    away: bool = False  # refuse every request
    drop_answers: int = 0  # close the connection after the effect, so many times
    settled_in: str = "eur"  # the currency of the account
    poor: bool = False  # the account has no money for refunds
    late_fee: bool = False  # charges have no balance transaction until `book`
    busy: int = 0  # so many requests under a key are refused: one under that key is running
    log: list[str] = field(default_factory=list[str])
    accounts: dict[str, str] = field(  # by their keys
        default_factory=lambda: {KEY: "acct_of_the_tests", OWN_KEY: "acct_of_a_merchant"}
    )
    _account: str = ""  # of the request that is answered
    _owners: dict[str, str] = field(default_factory=dict[str, str])  # the account of each noun
    _nouns: dict[str, Json] = field(default_factory=dict[str, Json])
    _keys: dict[str, tuple[str, int, Json]] = field(
        default_factory=dict[str, tuple[str, int, Json]]
    )
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def all_of(self, kind: str) -> list[Json]:
        with self._lock:
            return [noun for noun in self._nouns.values() if noun["object"] == kind]

    # What the buyer does.

    def pay(self, session: str, *, amount: int | None = None, wait: bool = False) -> None:
        """Pay a session. `amount`: charge another one; `wait`: by a delayed method."""
        with self._lock:
            found = self._nouns[session]
            if found["status"] != "open":
                return
            intent = self._intent(found, amount or found["amount_total"])
            found["payment_intent"] = intent["id"]
            found["status"] = "complete"
            found["amount_total"] = amount or found["amount_total"]
            if not wait:
                self._succeed(found)
        self._happened("checkout.session.completed", found)

    def arrive(self, session: str) -> None:
        """The money of a delayed method arrives."""
        with self._lock:
            self._succeed(self._nouns[session])
        self._happened("checkout.session.async_payment_succeeded", self._nouns[session])

    def fail(self, session: str) -> None:
        """The money of a delayed method does not arrive."""
        with self._lock:
            found = self._nouns[session]
            self._nouns[found["payment_intent"]]["status"] = "requires_payment_method"
        self._happened("checkout.session.async_payment_failed", found)

    def book(self, session: str) -> None:
        """The balance transaction of a charge is made, later than the charge."""
        with self._lock:
            intent = self._nouns[self._nouns[session]["payment_intent"]]
            charge = intent["latest_charge"]
            charge["balance_transaction"] = self._move(intent["amount"], FEE)
        self._happened("charge.updated", charge)

    # What happens in the dashboard, and at the bank.

    def refund(self, session: str, amount: int, *, mark: str | None = None) -> Json:
        with self._lock:
            intent = self._nouns[self._nouns[session]["payment_intent"]]
            metadata = {"florin_refund": mark} if mark else {}
            made = self._refund(intent, amount, metadata)
        self._happened("refund.created", made)
        return made

    def fail_refund(self, refund: str) -> None:
        """A refund fails, perhaps weeks later."""
        with self._lock:
            self._nouns[refund] |= {"status": "failed", "failure_reason": "lost_or_stolen_card"}
        self._happened("refund.failed", self._nouns[refund])

    def dispute(self, session: str, *, inquiry: bool = False) -> str:
        with self._lock:
            intent = self._nouns[self._nouns[session]["payment_intent"]]
            made = self._add(
                "dp",
                object="dispute",
                payment_intent=intent["id"],
                amount=intent["amount"],
                currency=intent["currency"],
                status="warning_needs_response" if inquiry else "needs_response",
                balance_transactions=[] if inquiry else [self._move(-intent["amount"], 1500)],
                evidence_details={"due_by": int(time.time()) + 86400},
                metadata={},
            )
            # A warning is to prevent a dispute: once there is one, nothing is left to do.
            ended = [
                each
                for each in self.all_of("radar.early_fraud_warning")
                if each["payment_intent"] == intent["id"] and each["actionable"]
            ]
            for each in ended:
                each["actionable"] = False
        self._happened("charge.dispute.created", made)
        for each in ended:
            self._happened("radar.early_fraud_warning.updated", each)
        return str(made["id"])

    def resolve(self, dispute: str, status: str) -> None:
        """`won`, `lost`, `warning_closed`; or `under_review`, once evidence was sent."""
        with self._lock:
            found = self._nouns[dispute]
            found["status"] = status
            if status == "won":
                found["balance_transactions"].append(self._move(found["amount"], 0))
        kind = "updated" if status == "under_review" else "closed"
        self._happened(f"charge.dispute.{kind}", found)

    def warn(self, session: str) -> None:
        """An early fraud warning."""
        with self._lock:
            intent = self._nouns[session]["payment_intent"]
            made = self._add(
                "issfr", object="radar.early_fraud_warning", payment_intent=intent, actionable=True
            )
        self._happened("radar.early_fraud_warning.created", made)

    # Its own affairs.

    def owner_of(self, noun: str) -> str:
        """The account that a noun belongs to."""
        return self._owners[noun]

    def _add(self, prefix: str, *, account: str | None = None, **noun: Any) -> Json:
        made: Json = {
            "id": f"{prefix}_{secrets.token_hex(12)}",
            "created": int(time.time()),
            **noun,
        }
        self._nouns[made["id"]] = made
        of_intent = self._owners.get(str(noun.get("payment_intent")), self._account)
        self._owners[made["id"]] = account or of_intent
        return made

    def _move(self, amount: int, fee: int) -> Json:
        return {
            "id": f"txn_{secrets.token_hex(12)}",
            "object": "balance_transaction",
            "amount": amount,
            "fee": fee,
            "net": amount - fee,
            "currency": self.settled_in,
        }

    def _intent(self, session: Json, amount: int) -> Json:
        return self._add(
            "pi",
            account=self._owners[session["id"]],
            object="payment_intent",
            amount=amount,
            currency=session["currency"],
            status="processing",
            metadata=session["_intent_metadata"],
            latest_charge=None,
            last_payment_error=None,
        )

    def _succeed(self, session: Json) -> None:
        session["payment_status"] = "paid"
        intent = self._nouns[session["payment_intent"]]
        intent["status"] = "succeeded"
        intent["latest_charge"] = self._add(
            "ch",
            account=self._owners[intent["id"]],
            object="charge",
            metadata=intent["metadata"],
            payment_intent=intent["id"],
            balance_transaction=None if self.late_fee else self._move(intent["amount"], FEE),
        )

    def _refund(self, intent: Json, amount: int, metadata: Json) -> Json:
        taken = sum(
            each["amount"]
            for each in self.all_of("refund")
            if each["payment_intent"] == intent["id"] and each["status"] != "failed"
        )
        if self.poor:
            raise Refused("balance_insufficient", "Insufficient funds in your Stripe account")
        if amount + taken > intent["amount"]:
            raise Refused("charge_already_refunded", "Refund amount is greater than unrefunded")
        return self._add(
            "re",
            object="refund",
            payment_intent=intent["id"],
            amount=amount,
            currency=intent["currency"],
            status="succeeded",
            metadata=metadata,
        )

    def _happened(self, kind: str, noun: Json) -> None:
        with self._lock:
            shown = {name: each for name, each in noun.items() if not name.startswith("_")}
            event = self._add(
                "evt",
                account=self._owners[noun["id"]],
                object="event",
                type=kind,
                data={"object": shown},
            )
        self.send_webhook(event)

    def sign(self, body: bytes) -> dict[str, str]:
        return sign(body)

    def request(
        self, method: str, path: str, form: Json, key: str | None, *, account: str
    ) -> tuple[int, Json]:
        """Answer a request of an account. One key is one answer."""
        text = json.dumps([account, method, path, form], sort_keys=True)
        with self._lock:
            self._account = account
            self.log.append(f"{method} {path}")
            if key is not None and key in self._keys:
                before, status, answer = self._keys[key]
                if before != text:
                    return 400, problem("idempotency_error", None, "Keys are for one request")
                return status, answer
            try:
                answer = self._route(method, path.removeprefix("/v1/"), form)
            except Refused as refused:
                return 400, problem("invalid_request_error", refused.code, str(refused))
            if key is not None:
                self._keys[key] = (text, 200, answer)
            return 200, answer

    def _route(self, method: str, path: str, form: Json) -> Json:
        parts = path.split("/")
        if path == "account":
            return {"id": self._account, "object": "account"}
        if path == "checkout/sessions" and method == "POST":
            return self._show(self._session(form))
        if parts[:2] == ["checkout", "sessions"]:
            session = self._own(parts[2])
            if parts[-1] == "expire":
                if session["status"] != "open":
                    raise Refused("checkout_session_not_open", "This session is not open")
                session["status"] = "expired"
            return self._show(session)
        if path == "refunds" and method == "POST":
            wrong = check(_REFUND, form)
            if wrong is not None:
                raise Refused("parameter_unknown", f"Received unknown parameter: {wrong}")
            intent = self._own(form["payment_intent"])
            return self._refund(intent, int(form["amount"]), form.get("metadata", {}))
        kinds = {
            "refunds": "refund",
            "disputes": "dispute",
            "radar/early_fraud_warnings": "radar.early_fraud_warning",
            "events": "event",
        }
        if path in kinds:
            wanted = form.get("payment_intent")
            types = form.get("types")
            found = [
                n
                for n in self.all_of(kinds[path])
                if wanted in {None, n.get("payment_intent")}
                and self._owners[n["id"]] == self._account
                and (types is None or n["type"] in types)
            ]
            return {"object": "list", "data": found[::-1], "has_more": False, "url": f"/v1/{path}"}
        raise Refused("url_invalid", f"Unrecognized request URL ({method}: /v1/{path})")

    def _own(self, noun: str) -> Json:
        """A noun of the account that asks."""
        if self._owners.get(noun) != self._account:
            raise Refused("resource_missing", f"No such object: {noun}")
        return self._nouns[noun]

    def _session(self, form: Json) -> Json:
        wrong = check(_SESSION, form)
        if wrong is not None:
            raise Refused("parameter_unknown", f"Received unknown parameter: {wrong}")
        [line] = form["line_items"]
        price = line["price_data"]
        made = self._add(
            "cs_test",
            object="checkout.session",
            mode=form["mode"],
            status="open",
            payment_status="unpaid",
            amount_total=int(price["unit_amount"]) * int(line["quantity"]),
            currency=price["currency"],
            client_reference_id=form["client_reference_id"],
            metadata=form["metadata"],
            livemode=False,
            payment_intent=None,
            success_url=form["success_url"],
            _intent_metadata=form["payment_intent_data"]["metadata"],
        )
        made["url"] = f"{self.url}/pay/{made['id']}"
        return made

    def _show(self, session: Json) -> Json:
        shown = {name: each for name, each in session.items() if not name.startswith("_")}
        if shown["payment_intent"] is not None:
            shown["payment_intent"] = self._nouns[shown["payment_intent"]]
        return shown


class Refused(Exception):
    """A request that Stripe refuses."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def problem(kind: str, code: str | None, message: str) -> Json:
    return {"error": {"type": kind, "code": code, "message": message}}


def sign(body: bytes, secret: str = SECRET, *, at: int | None = None) -> dict[str, str]:
    """The header Stripe-Signature: HMAC-SHA-256 over the time and the raw body."""
    at = int(time.time()) if at is None else at
    mac = hmac.digest(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hex()
    return {"stripe-signature": f"t={at},v1={mac}"}


@contextmanager
def stripe_server() -> Generator[StripeServer]:
    """Run it on a free port."""
    server = StripeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name
            del format, args

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            url = urlsplit(self.path)
            form = unfold(parse_qsl(body or url.query, keep_blank_values=True))
            if server.away:
                self.close_connection = True
                return
            key = self.headers.get("idempotency-key")
            bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
            account = server.accounts.get(bearer)
            if server.busy and key is not None:
                server.busy -= 1
                running = "There is currently another in-progress request using this key"
                status = 409
                answer = problem("idempotency_error", "idempotency_key_in_use", running)
            elif account is None:
                status, answer = 401, problem("invalid_request_error", None, "Invalid API key")
            else:
                status, answer = server.request(self.command, url.path, form, key, account=account)
            if server.chaos is not None and server.chaos.random() < 0.15:
                self.close_connection = True
                return
            if server.drop_answers and self.command == "POST":
                server.drop_answers -= 1
                self.close_connection = True
                return
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 -- the library's names

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
