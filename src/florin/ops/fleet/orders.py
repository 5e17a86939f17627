"""Orders: what a supervisor is told, and what it answers."""

from collections.abc import Callable
from typing import Any

import msgspec

from florin.ops.system.console import OperatorError

Tell = Callable[[str], None]


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the supervisor is asked to do, by whom, with the command as it was given."""

    verb: str
    name: str = ""
    who: str = ""
    what: str = ""
    options: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """How it goes (`done` is None) or how it went; `said` is a sentence for the user."""

    said: str
    done: bool | None = None
    document: dict[str, Any] | None = None


class OrderUndone(OperatorError):
    """It was tried, did not work out, and all is as before; `document` says more."""

    def __init__(self, said: str, document: dict[str, Any]) -> None:
        super().__init__(said)
        self.document = document
