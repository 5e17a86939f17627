"""Request context: the caller of a request, its idempotency key, and its location and address."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """The caller and its idempotency key. `location`: the only one at which the caller may act.
    `address`: the client's, against which wrong codes are counted; `client_named`: whether the
    caller named it. `spends_by_id`: whether the caller may spend cards without their code.
    """

    merchant: UUID
    actor: str
    key: str | None
    location: str | None = None
    address: str = "unknown"
    client_named: bool = False
    spends_by_id: bool = False
