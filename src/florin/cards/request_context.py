"""Request context: who asks for something, under which key, and from where."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """Who asks, and under which key; `location`: the only one at which the caller may act;
    `address`: the client's, where codes are tried.
    """

    merchant: UUID
    actor: str
    key: str | None
    location: str | None = None
    address: str = "unknown"
