"""Slack: a server for incoming webhooks, with the answers of the real one.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.receivers.http_receiver import HttpReceiver, JsonBody, Reply

_PATH = "/services/T00000000/B00000000/webhook-of-the-tests"
_ATTACHMENTS_MAX = 100
RATE_LIMITED = Reply(429, "rate_limited", headers=(("retry-after", "1"),))
OUTAGE = Reply(503, "service_unavailable")


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """One message; `at` is the monotonic time of its arrival in seconds."""

    at: float
    text: str
    payload: dict[str, Any]


class Slack(HttpReceiver):
    """The server; `url` is the webhook's address."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[SlackMessage] = []

    @property
    def url(self) -> str:
        return self.base + _PATH

    def accept(self, path: str, content_type: str, body: bytes) -> Reply:
        if path != _PATH:
            return Reply(403, "invalid_token")
        payload = JsonBody(body).value
        if content_type != "application/json" or payload is None:
            return Reply(400, "invalid_payload")
        attachments: list[dict[str, Any]] = payload.get("attachments") or []
        blocks: list[Any] = payload.get("blocks") or []
        if len(attachments) > _ATTACHMENTS_MAX:
            return Reply(400, "too_many_attachments")
        words = [str(payload.get("text") or ""), *(_text(each) for each in attachments)]
        words += [str(block) for block in blocks]
        text = "\n".join(word for word in words if word)
        if not text:
            return Reply(400, "no_text")
        self.messages.append(SlackMessage(time.monotonic(), text, payload))
        return Reply(200, "ok")

    def wait_for(self, words: str, within_s: float) -> SlackMessage:
        """Wait for a message that contains `words`. Raises AssertionError."""

        def found() -> list[SlackMessage]:
            return [each for each in self.messages if words in each.text]

        assert self.wait_until(lambda: bool(found()), within_s), (words, self.messages)
        return found()[0]


def _text(attachment: dict[str, Any]) -> str:
    fields: list[dict[str, Any]] = attachment.get("fields") or []
    named = [f"{each.get('title')}: {each.get('value')}" for each in fields]
    shown = (attachment.get(name) for name in ("pretext", "title", "title_link", "text"))
    return "\n".join([*(str(each) for each in shown if each), *named])


@contextmanager
def slack() -> Generator[Slack]:
    made = Slack()
    made.start()
    try:
        yield made
    finally:
        made.stop()
