"""Twilio for tests: speaks the protocol of its message API over a socket, with faults.

https://www.twilio.com/docs/messaging/api/message-resource; answers have the fields of its
published OpenAPI document (twilio_api_v2010). `report` sends signed status callbacks.
"""

import base64
import hashlib
import hmac
import json
import random
import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tests.support.webhook_sender import post_webhook

ACCOUNT, TOKEN, SENDER = "AC" + "a" * 32, "token-of-the-tests", "+4915123456780"
_PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
OPTED_OUT, INVALID, BUSY, BROKEN = 21610, 21211, 20429, 20500
_STATUS = {OPTED_OUT: 400, INVALID: 400, BUSY: 429, BROKEN: 500, 20003: 401, 20404: 404}


@dataclass(slots=True)
class Text:
    """A message that was taken."""

    sid: str
    to: str
    sender: str
    body: str
    callback: str


@dataclass(slots=True)
class TwilioServer:
    """Its state, and the switches of its faults."""

    port: int = 0
    texts: list[Text] = field(default_factory=list[Text])
    refuse: dict[str, int] = field(default_factory=dict[str, int])  # by number: the error code
    faults: list[int] = field(default_factory=list[int])  # error codes of the next requests
    drop_answers: int = 0  # close the connection after the message was taken, so many times
    failing: float = 0.0  # the share of messages that it refuses for now, or takes silently
    asked: int = 0
    _chance: random.Random = field(default_factory=lambda: random.Random(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "TWILIO_URL": f"http://127.0.0.1:{self.port}",
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_FROM": SENDER,
        }

    def take(self, path: str, authorization: str, body: bytes) -> tuple[int, dict[str, Any]] | None:
        """The answer to a request; None: the connection is closed."""
        with self._lock:
            self.asked += 1
            if authorization != "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode():
                return problem(20003)
            if path != _PATH:
                return problem(20404)
            form = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True))
            assert set(form) == {"To", "From", "Body", "StatusCallback"}, form
            assert len(form["Body"]) <= 1600
            if self.faults:
                return problem(self.faults.pop(0))
            if form["To"] in self.refuse:
                return problem(self.refuse[form["To"]])
            chance = self._chance.random()
            if chance < self.failing / 2:
                return problem(BUSY)
            sid = f"SM{secrets.token_hex(16)}"
            text = Text(sid, form["To"], form["From"], form["Body"], form["StatusCallback"])
            self.texts.append(text)
            if chance < self.failing:
                return None
            if self.drop_answers:
                self.drop_answers -= 1
                return None
        answer = {"sid": sid, "status": "queued", "to": text.to, "body": text.body}
        return 201, answer | {"error_code": None, "error_message": None, "account_sid": ACCOUNT}

    def report(
        self, text: Text, status: str, base: str, *, error: int | None = None, **change: str
    ) -> int:
        """Send the state of a message to its callback; return the status of the answer. `base`:
        where the host of the callback's address is reached. `change`: the faults of a forger.
        """
        form = {"MessageSid": text.sid, "MessageStatus": status, "To": text.to, "From": text.sender}
        form |= {"AccountSid": ACCOUNT, "ApiVersion": "2010-04-01"}
        if error is not None:
            form["ErrorCode"] = str(error)
        signed = text.callback + "".join(name + form[name] for name in sorted(form))
        key = change.pop("token", TOKEN)
        digest = hmac.new(key.encode(), signed.encode(), hashlib.sha1).digest()
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
            "x-twilio-signature": base64.b64encode(digest).decode(),
        }
        url = urlsplit(text.callback)._replace(scheme="http", netloc=urlsplit(base).netloc)
        path = change.pop("path", url.path)
        sent = urlencode(form | change).encode()
        return post_webhook(urlunsplit(url._replace(path=path)), sent, headers)


def problem(code: int) -> tuple[int, dict[str, Any]]:
    """An error as Twilio answers it."""
    status = _STATUS.get(code, 400)
    page = f"https://www.twilio.com/docs/errors/{code}"
    return status, {"code": code, "message": f"error {code}", "more_info": page, "status": status}


@contextmanager
def twilio_server() -> Generator[TwilioServer]:
    made = TwilioServer()

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = made.take(self.path, self.headers.get("authorization", ""), body)
            if answer is None:
                self.close_connection = True
                return
            sent = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
