"""Orders: silences and requests for a test, from the command line to the operator process.

They are a file in a directory that only the supervisor's user may write: who may write it may
silence alerts. The operator process reads it and changes nothing in it.
"""

import time
from pathlib import Path

import msgspec

from florin.ops.fleet.home import write_file

TEST_WITHIN_S = 60.0  # an older request is not carried out: no one waits for it any more


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """No notices of an alert until a time. `name` is an alert's name or key, or `all`."""

    name: str
    until: float  # Unix time
    who: str
    since: float


class AlertOrders(msgspec.Struct, frozen=True, kw_only=True):
    silences: list[Silence] = []
    test: str = ""  # the id of the last request
    tested: float = 0.0  # when it was made

    def silenced(self, key: str, now: float) -> bool:
        """Return whether an alert is silenced; `key` is NAME or NAME/LABEL."""
        names = {"all", key, key.partition("/")[0]}
        return any(each.name in names and each.until > now for each in self.silences)

    def current(self, now: float) -> list[Silence]:
        return [each for each in self.silences if each.until > now]


def read_orders(path: Path) -> AlertOrders:
    """Return the orders; none if there is no file or it is unreadable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=AlertOrders)
    except (OSError, msgspec.DecodeError):
        return AlertOrders()


def add_silence(path: Path, silence: Silence) -> None:
    """Add a silence; it replaces one of the same name. One that has passed ends the other."""
    kept = read_orders(path)
    others = [each for each in kept.current(time.time()) if each.name != silence.name]
    _save(path, msgspec.structs.replace(kept, silences=[*others, silence]))


def request_test(path: Path, name: str) -> None:
    _save(path, msgspec.structs.replace(read_orders(path), test=name, tested=time.time()))


def _save(path: Path, orders: AlertOrders) -> None:
    write_file(path, msgspec.json.encode(orders), mode=0o640)
