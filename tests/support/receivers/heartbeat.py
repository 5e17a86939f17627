"""Heartbeat: a dead man's switch, which misses the alert that always fires."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from tests.support.receivers.http_receiver import HttpReceiver, JsonBody, Reply


class Heartbeat(HttpReceiver):
    """Takes Alertmanager's webhooks; `beats` has the monotonic time of each in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.beats: list[float] = []
        self.refused: list[bytes] = []

    def accept(self, path: str, content_type: str, body: bytes) -> Reply:
        message = JsonBody(body).value
        if path != "/" or content_type != "application/json" or message is None:
            self.refused.append(body)
            return Reply(400, "not a webhook of Alertmanager")
        labels = [each["labels"]["alertname"] for each in message["alerts"]]
        if labels != ["Watchdog"]:
            self.refused.append(body)
            return Reply(400, f"{labels} instead of the Watchdog")
        self.beats.append(time.monotonic())
        return Reply(200, "ok")


@contextmanager
def heartbeat() -> Generator[Heartbeat]:
    made = Heartbeat()
    made.start()
    try:
        yield made
    finally:
        made.stop()
