"""Listing: deliveries, newest first."""

from dataclasses import dataclass
from uuid import UUID

from florin.deliveries.delivery import Delivery, DeliveryState, delivery_from_row
from florin.kit.http.list_filters import Bounds, Conditions
from florin.kit.postgres.database import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    card: UUID | None = None
    state: DeliveryState | None = None
    created: Bounds = ()


async def list_deliveries(
    reader: Reader, merchant: UUID, *, limit: int, after: UUID | None, only: DeliveryFilter
) -> list[Delivery]:
    where = Conditions([merchant])
    where.add_bounds("created_at", only.created)
    if only.card is not None:
        where.add("card = {}", only.card)
    if only.state is not None:
        where.add("state = {}", only.state)
    if after is not None:
        where.add("id < {}", after)
    page = where.bind(limit)
    rows = await reader.all(
        f"select * from florin.delivery where merchant = $1{where} order by id desc limit {page}",  # noqa: S608 -- our own text
        *where.arguments,
    )
    return [delivery_from_row(row) for row in rows]
