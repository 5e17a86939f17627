"""Orders: the commands that a supervisor accepts, and its replies."""

from collections.abc import Callable
from typing import Any

import msgspec

from florin.ops.system.console import OperatorError

ReportProgress = Callable[[str], None]  # is called with each line of progress

TIMED_OUT = "The operation timed out. Check florin status, then try again."


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command for the supervisor: `who` gave it, `what` is the command line as typed."""

    verb: str
    name: str = ""
    who: str = ""
    what: str = ""
    options: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Progress (`done` is None) or the outcome of an order; `said` is a sentence for the user."""

    message: str
    done: bool | None = None
    document: dict[str, Any] | None = None


class OrderUndone(OperatorError):
    """The change failed and was undone; `document` has the details."""

    def __init__(self, message: str, document: dict[str, Any]) -> None:
        super().__init__(message)
        self.document = document
