"""Gate orders: what a supervisor asks of `florin gate`, a JSON object a line, and the replies."""

from typing import Literal

import msgspec


class GateOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`check`: test the instance at `address`. `load`: begin the load through the balancer at
    `address`. `compare`: compare the ledger with the log once there are `requests` more.
    """

    verb: Literal["check", "load", "compare"]
    address: str = ""
    tls: bool = False
    requests: int = 0
    within_s: float = 60.0


class GateReply(msgspec.Struct, frozen=True, kw_only=True):
    """`wrong`: why the release must not serve; empty when all is well.

    `bound`: the upper confidence bound of the share of failed requests, at 95 %. `routes` of
    `routes_all` routes of the API were used.
    """

    wrong: str = ""
    requests: int = 0
    failed: int = 0
    bound: float = 1.0
    routes: int = 0
    routes_all: int = 0
    ready: bool = False  # the first line: the merchant exists, orders are accepted
