"""Placing in batches: orders that arrive at the same time are written in one transaction, which
takes their numbers at once.

Left to `checkout`, one by one: an order that is refused, one with a reference of the merchant's
own, a repetition, and what was in a batch that failed.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from florin.cards.delivery_plan import DeliveryPlan
from florin.kit.batcher import Batcher
from florin.kit.errors import Refusal
from florin.kit.http.body import fingerprint
from florin.kit.observability import logging
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import BROKEN, Database, Row, Tx
from florin.orders.batches.pricing import Programs, price_items, read_programs
from florin.orders.events import NewEvent, order_event, record_events
from florin.orders.order import CARDS_MAX, OrderRequest
from florin.orders.order_rows import (
    NewOrder,
    OrderOrigin,
    OrderToPlace,
    PlacedRows,
    insert_orders_in,
    placed_order,
    total_of,
)
from florin.payments.gateway import Gateway

BATCH_MAX = 50  # orders; those of their merchants that come later wait for the numbers
OPERATION = "place-order"
WITHIN_S = 10.0  # a batch that takes longer must not hold up those after it
_log = logging.get_logger()


class Placement(NamedTuple):
    """An order to place. `gateway`: the one that takes its first payment."""

    origin: OrderOrigin
    request: OrderRequest
    new: NewOrder
    plans: list[DeliveryPlan | None]
    key: str | None
    gateway: Gateway


class PlacementBatches:
    """Places orders together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[Placement, PlacedRows | None] = Batcher(
            self._place, batch_max=BATCH_MAX, in_flight_max=1
        )

    async def place(self, placement: Placement) -> PlacedRows | None:
        """Place an order; None if nothing happened and `checkout` is to place it alone."""
        placed = await self._batcher.submit(placement)
        if placed is not None:
            record_commit()
        return placed

    async def finish(self) -> None:
        """Wait until no batch is in flight."""
        await self._batcher.settle()

    async def _place(self, placements: list[Placement]) -> Sequence[PlacedRows | None]:
        try:
            async with self._database.transaction(within_s=WITHIN_S) as tx:
                placed = await _place_in(tx, placements)
        except BROKEN:
            raise
        except asyncpg.PostgresError as error:
            _log.info("orders are placed one by one", reason=f"{error}"[:200])
            placed = dict[UUID, PlacedRows]()
        return [placed.get(each.new.order) for each in placements]


async def _place_in(tx: Tx, placements: list[Placement]) -> dict[UUID, PlacedRows]:
    programs = await read_programs(
        tx, [(each.origin.merchant, each.request) for each in placements]
    )
    priced = [(each, await _price(tx, each, programs)) for each in placements]
    allowed = [(each, order) for each, order in priced if order is not None]
    if not allowed:
        return {}
    row: Row | None = await tx.one(
        "select once_each($1, $2, $3, $4, $5) as first",
        [each.origin.merchant for each, _ in allowed],
        [each.key for each, _ in allowed],
        OPERATION,
        [fingerprint(OPERATION, each.request) for each, _ in allowed],
        [each.new.order for each, _ in allowed],
    )
    assert row is not None
    orders = [
        order
        for (each, order), first in zip(allowed, row["first"], strict=True)
        if each.key is None or first == each.new.order
    ]
    if not orders:
        return {}
    events: dict[tuple[UUID, str], list[NewEvent]] = {}
    written = await insert_orders_in(tx, orders)
    for order, rows in zip(orders, written, strict=True):
        event = order_event("order.placed", order.new.order, placed_order(rows))
        events.setdefault((order.origin.merchant, order.origin.actor), []).append(event)
    for merchant, actor in sorted(events):
        await record_events(tx, merchant, events[merchant, actor], actor)
    return {rows.new.order: rows for rows in written}


async def _price(tx: Tx, placement: Placement, programs: Programs) -> OrderToPlace | None:
    """The order with its prices; None if it is refused."""
    origin, request = placement.origin, placement.request
    try:
        items = await price_items(tx, origin.merchant, request, programs, CARDS_MAX)
        placement.gateway.check_amount(items[0].currency, total_of(items))
    except Refusal:
        return None
    return OrderToPlace(origin, request, placement.new, items, placement.plans)
