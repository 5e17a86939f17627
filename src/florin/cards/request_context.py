"""Request context: who asks for something, under which key, and from where."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """Who asks, and under which key; `location`: the only one at which the caller may act;
    `address`: the client's, where codes are tried, and `client_named`: whether the caller named it;
    `spends_by_id`: also cards whose code is not given.
    """

    merchant: UUID
    actor: str
    key: str | None
    location: str | None = None
    address: str = "unknown"
    client_named: bool = False
    spends_by_id: bool = False
