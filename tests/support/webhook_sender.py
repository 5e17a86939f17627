"""Webhook sender: the gateways of the tests send webhooks with it, with the faults of a network."""

import json
import random
import secrets
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any


def post_webhook(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Send a webhook; return its status, 0 if there was no answer."""
    request = urllib.request.Request(  # noqa: S310 -- an address of the tests
        url, body, {"content-type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 -- as above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@dataclass(slots=True)
class WebhookSender:
    """Sends each event in threads of its own. The fields are the switches of the faults."""

    webhook_url: str | None = None
    copies: int = 1  # of each webhook; 0: lost
    delay_s: float = 0  # of each webhook, at most
    chaos: random.Random | None = None  # draws the faults of each request and webhook
    answers: list[int] = field(default_factory=list[int])  # of webhooks
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def sign(self, body: bytes) -> dict[str, str]:
        """The headers that sign a body."""
        raise NotImplementedError

    def settle_webhooks(self) -> None:
        """Wait until all webhooks were sent."""
        while self._threads:
            self._threads.pop().join(60)

    def send_webhook(self, event: dict[str, Any]) -> None:
        copies = self.copies if self.chaos is None else self.chaos.choice((0, 1, 1, 2, 4))
        for _ in range(copies):
            thread = threading.Thread(target=self._deliver, args=(event,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _deliver(self, event: dict[str, Any]) -> None:
        if self.delay_s:
            time.sleep(secrets.randbelow(1000) / 1000 * self.delay_s)
        if self.webhook_url is not None:
            body = json.dumps(event).encode()
            self.answers.append(post_webhook(self.webhook_url, body, self.sign(body)))
