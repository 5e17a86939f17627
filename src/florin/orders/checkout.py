"""Checkout: place an order, open its payment at the gateway, cancel it, try to pay it again.

The price comes from the order that the merchant's program allows, never from the page where the
buyer pays. The payment's row exists before the gateway is asked, and its id is the key there: a
repetition after a lost answer finds what the first request made.
"""

from typing import NamedTuple
from uuid import UUID

import msgspec

from florin.cards.references import OF_ORDER, given_reference, refuse_taken
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound, OutcomeUnknown, Refusal
from florin.kit.http.body import fingerprint
from florin.kit.observability import logging
from florin.kit.postgres.database import Database, Row, Tx
from florin.kit.postgres.idempotency import claim_key
from florin.orders.batches.opening import OpenedPayments
from florin.orders.batches.placing import OPERATION, Placement, PlacementBatches
from florin.orders.batches.pricing import price_items, read_programs
from florin.orders.events import order_event, record_events, record_order
from florin.orders.item_delivery import plan_items
from florin.orders.order import (
    CARDS_MAX,
    RECIPIENTS_MAX,
    Order,
    OrderRequest,
    find_order,
)
from florin.orders.order_rows import (
    NewOrder,
    OrderOrigin,
    OrderToPlace,
    PlacedRows,
    insert_orders_in,
    new_page,
    new_payment_row,
    placed_order,
    total_of,
)
from florin.orders.payment_attempts import OrderNotPayable, begin_attempt, read_payment_row
from florin.payments.gateway import GatewayRefused, GatewayUnavailable, Opened, PaymentRow
from florin.payments.gateway_directory import GatewayDirectory

_log = logging.get_logger()

_LATEST = """
select * from florin.payment where merchant = $1 and orders = $2 order by attempt desc limit 1
"""


class OrderPaid(Refusal):
    """The order is paid: refund it instead."""

    code = "order_paid"
    status = 402


class PlacedOrder(NamedTuple):
    """An order with the address of its page. `replayed`: an earlier request with the same key
    placed it. `position`: the log position of a new order.
    """

    order: Order
    replayed: bool
    position: str | None


class Checkout:
    """Places orders and opens their payments. `sms`: whether messages by SMS can be sent."""

    def __init__(
        self, database: Database, gateways: GatewayDirectory, sealer: Sealer, *, sms: bool = False
    ) -> None:
        self.sms = sms
        self._database = database
        self._gateways = gateways
        self._sealer = sealer
        self.batches = PlacementBatches(database)
        self._opened = OpenedPayments(database)

    async def finish(self) -> None:
        """Wait until no batch is in flight."""
        await self.batches.finish()
        await self._opened.finish()

    async def place_order(
        self, origin: OrderOrigin, request: OrderRequest, *, key: str | None, bulk: bool = False
    ) -> PlacedOrder:
        """Place an order and open its payment. `bulk`: one card for each of many recipients, issued
        by a job once the order is paid.

        Raises ProgramNotFound, AmountNotAllowed, CurrencyMismatch, CardNotFound, GatewayOff,
        CurrencyNotSupportedByGateway, IdempotencyKeyReused, ReferenceTaken; OutcomeUnknown if the
        gateway did not answer: the order exists, and a repetition with the same key opens its
        payment.
        """
        merchant = origin.merchant
        order, payment = ids.new_id(), ids.new_id()
        chosen = await self._gateways.choose(merchant, request.gateway)
        connected = await self._gateways.gateway(merchant, *chosen)
        plans = await plan_items(self._database, merchant, request, sms=self.sms, alike=bulk)
        reference = given_reference(request.reference)
        new = NewOrder(order, payment, new_page(self._sealer, merchant, order), chosen)
        placement = Placement(origin, request, new, plans, key, connected)
        made: tuple[PlacedRows, Order] | UUID | None = None
        if not bulk and reference is None and (rows := await self.batches.place(placement)):
            made = rows, placed_order(rows)
        if made is None:
            async with (
                refuse_taken(self._database, OF_ORDER, merchant, reference),
                self._database.transaction() as tx,
            ):
                made = await _place_alone_in(tx, placement, bulk=bulk)
        if isinstance(made, UUID):
            return await self._repeat_order(merchant, made)
        rows, shown = made
        opened, position = await self._open(new_payment_row(rows))
        url = f"{origin.base_url}/o/{rows.new.page.token}"
        shown = msgspec.structs.replace(shown, pay_url=opened.url, url=url)
        return PlacedOrder(shown, replayed=False, position=position)

    async def _repeat_order(self, merchant: UUID, order: UUID) -> PlacedOrder:
        """The order of an earlier request with the key; its payment is opened if it was not."""
        latest = await self._database.one(_LATEST, merchant, order)
        assert latest is not None
        await self.open_payment(merchant, latest["id"])
        shown = await find_order(self._database, merchant, order)
        page = await self._database.one(
            "select merchant, id, token_sealed, base_url from florin.orders"
            " where merchant = $1 and id = $2",
            merchant,
            order,
        )
        assert page is not None
        shown = msgspec.structs.replace(shown, url=self.page_url(page))
        return PlacedOrder(shown, replayed=True, position=None)

    async def open_payment(self, merchant: UUID, payment: UUID) -> None:
        """Ask the gateway for the page where the buyer pays, unless it was asked before.

        Raises OutcomeUnknown, OrderNotPayable if the gateway refuses definitely.
        """
        row = await read_payment_row(self._database, self._sealer, merchant, payment)
        if row.state == "created":
            await self._open(row)

    async def _open(self, row: PaymentRow) -> tuple[Opened, str]:
        merchant, payment = row.merchant, row.id
        try:
            gateway = await self._gateways.gateway_of(row)
            opened = await gateway.open(row)
        except GatewayUnavailable as error:
            _log.warning("gateway unavailable", provider=row.provider, reason=str(error)[:200])
            raise OutcomeUnknown(
                "The payment gateway did not answer; repeat the request with the same key"
            ) from error
        except GatewayRefused as error:
            await _fail(self._database, merchant, payment, str(error))
            raise OrderNotPayable(f"The payment gateway refused: {error}") from error
        return opened, await self._opened.record(merchant, payment, opened)

    async def cancel_order(self, merchant: UUID, order: UUID, actor: str) -> None:
        """Cancel an order that is not paid; cancelled already is no error. Money that arrives all
        the same is returned. Raises NotFound, OrderPaid.
        """
        async with self._database.transaction() as tx:
            row = await _locked_order(tx, merchant, order)
            if row["state"] in {"paid", "fulfilled", "review"}:
                raise OrderPaid
            if row["state"] == "placed":
                await tx.run(
                    "update florin.orders set state = 'cancelled', closed_at = clock(merchant)"
                    " where merchant = $1 and id = $2",
                    merchant,
                    order,
                )
                await record_order(tx, merchant, order, "order.cancelled", actor)
        await self.expire_payments(merchant, order)

    async def expire_payments(self, merchant: UUID, order: UUID) -> None:
        """Close the pages where the order could still be paid. A gateway that does not answer is
        asked again by the job that looks at the payment when it ends.
        """
        for row in await self._database.all(
            "select id from florin.payment where merchant = $1 and orders = $2"
            " and state in ('created', 'open')",
            merchant,
            order,
        ):
            payment = await read_payment_row(self._database, self._sealer, merchant, row["id"])
            try:
                if payment.reference is not None:
                    gateway = await self._gateways.gateway_of(payment)
                    await gateway.expire(payment)
            except (GatewayUnavailable, GatewayRefused) as error:
                _log.warning("payment not closed at gateway", reason=str(error)[:200])

    async def retry_order(self, merchant: UUID, order: UUID, *, after: UUID | None = None) -> None:
        """Begin another attempt to pay. The caller has closed the older ones and looked at them.
        `after`: the attempt that failed; if another one follows it already, nothing is begun.

        Raises NotFound, OrderNotPayable, GatewayOff, OutcomeUnknown.
        """
        found = await self._database.one(
            "select gateway from florin.orders where merchant = $1 and id = $2", merchant, order
        )
        if found is None:
            raise NotFound
        provider, gateway = await self._gateways.choose(merchant, found["gateway"] or None)
        payment = ids.new_id()
        async with self._database.transaction() as tx:
            # In the order of settling: payments before the order.
            payments = await tx.all(
                "select id, state, attempt from florin.payment where merchant = $1 and orders = $2"
                " order by id for no key update",
                merchant,
                order,
            )
            row = await _locked_order(tx, merchant, order)
            # Read again, under the lock: a request that held the order may have begun one.
            latest = await tx.one(_LATEST, merchant, order)
            assert latest is not None
            if after is not None and latest["id"] != after:
                payment = latest["id"]
            else:
                await begin_attempt(tx, row, payments, payment, (provider, gateway))
        await self.open_payment(merchant, payment)

    def page_url(self, row: Row) -> str:
        """The address of an order's own page, from a row of `orders`."""
        token = self._sealer.unseal(
            row["token_sealed"], bound_to=row["merchant"].bytes + row["id"].bytes
        )
        return f"{row['base_url']}/o/{token}"


async def _place_alone_in(
    tx: Tx, placement: Placement, *, bulk: bool
) -> tuple[PlacedRows, Order] | UUID:
    """Place an order, or return the one that an earlier request with the key placed."""
    origin, request, new, plans, key, gateway = placement
    merchant = origin.merchant
    first = new.order
    if key is not None:
        first = await claim_key(
            tx,
            merchant=merchant,
            key=key,
            operation="place-bulk-order" if bulk else OPERATION,
            fingerprint=fingerprint(OPERATION, request),
            noun=new.order,
        )
    if first != new.order:
        return first
    most = RECIPIENTS_MAX if bulk else CARDS_MAX
    programs = await read_programs(tx, [(merchant, request)])
    items = await price_items(tx, merchant, request, programs, most)
    gateway.check_amount(items[0].currency, total_of(items))
    [rows] = await insert_orders_in(tx, [OrderToPlace(origin, request, new, items, plans, bulk)])
    shown = await find_order(tx, merchant, new.order) if bulk else placed_order(rows)
    event = order_event("order.placed", new.order, shown)
    await record_events(tx, merchant, [event], origin.actor)
    return rows, shown


async def _locked_order(tx: Tx, merchant: UUID, order: UUID) -> Row:
    """Raises NotFound."""
    row = await tx.one(
        "select * from florin.orders where merchant = $1 and id = $2 for no key update",
        merchant,
        order,
    )
    if row is None:
        raise NotFound
    return row


async def _fail(database: Database, merchant: UUID, payment: UUID, failure: str) -> None:
    async with database.transaction() as tx:
        await tx.run(
            "update florin.payment set state = 'failed', failure = $3, look_due = null"
            " where merchant = $1 and id = $2 and state = 'created'",
            merchant,
            payment,
            failure[:500],
        )
