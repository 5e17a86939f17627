"""Looking: ask a payment's gateway what it says now, and settle by the answer.

A webhook is only a hint to look. A look that was not asked for by an event happens at most every
two seconds for one payment, however often its page is loaded.
"""

from uuid import UUID

import msgspec

from florin.kit.encryption import Sealer
from florin.kit.errors import OutcomeUnknown
from florin.kit.observability import logging
from florin.kit.postgres.database import Database, Row
from florin.orders.checkout import Checkout, OrderNotPayable
from florin.orders.payment_attempts import PaymentRows, read_payment_row
from florin.orders.refunds import resolve_refund_in
from florin.orders.settlement import FLORIN, Settlement
from florin.payments.gateway import (
    GatewayRefused,
    GatewayUnavailable,
    PaymentRow,
    RefundRow,
    Seen,
    SeenRefund,
)
from florin.payments.gateway_directory import GatewayDirectory

_log = logging.get_logger()

_TURN = """
update florin.payment set looked_at = clock_timestamp()
where merchant = $1 and id = $2 and looked_at < clock_timestamp() - interval '2 seconds'
returning id
"""
_REFUND = """
update florin.payment_refund set attempts = attempts + 1,
  due_at = clock_timestamp() + least(interval '30 seconds' * 2 ^ least(attempts, 10),
    interval '6 hours')
where merchant = $1 and id = $2 and state = 'asked' and not adopted
returning *
"""


class PaymentLooker:
    """Looks at payments and refunds at their gateways."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        gateways: GatewayDirectory,
        checkout: Checkout,
        settlement: Settlement,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._gateways = gateways
        self._checkout = checkout
        self._settlement = settlement
        self._rows = PaymentRows(database, sealer)

    async def look(self, merchant: UUID, payment: UUID) -> None:
        """Look and settle. Raises GatewayUnavailable, Overloaded."""
        row = await self._rows.read(merchant, payment)
        if row.state == "created":
            # Also for an order that does not stand: a lost answer may have made a page to pay it,
            # and the same key finds that page, to close it.
            try:
                await self._checkout.open_payment(merchant, payment)
            except OutcomeUnknown as error:
                raise GatewayUnavailable(error.detail) from error
            except OrderNotPayable:
                return  # refused definitely, and recorded as failed
            row = await self._rows.read(merchant, payment)
        gateway = await self._gateways.gateway_of(row)
        seen = await gateway.look(row)
        if seen.state == "open" and (not row.order_stands or await self._is_over(row)):
            try:
                await gateway.expire(row)
            except GatewayRefused:
                _log.info("a payment ended at its gateway meanwhile", payment=payment.hex)
            seen = await gateway.look(row)
            if seen.state == "open":  # a gateway where nothing has to be closed
                seen = msgspec.structs.replace(seen, state="expired")
        await self._settlement.settle(row, seen, real_money=gateway.real_money)

    async def look_by_page(self, merchant: UUID, payment: UUID) -> None:
        """Look for a page that is being loaded; a gateway that is away changes nothing."""
        async with self._database.transaction() as tx:
            turn = await tx.one(_TURN, merchant, payment)
        if turn is None:
            return
        try:
            await self.look(merchant, payment)
        except GatewayUnavailable as error:
            _log.warning("gateway unavailable", reason=str(error)[:200])

    async def look_at_order(self, merchant: UUID, order: UUID) -> None:
        """Look at the attempts of an order that may have been paid meanwhile. Raises
        OutcomeUnknown.
        """
        for row in await self._database.all(
            "select id from florin.payment where merchant = $1 and orders = $2"
            " and state in ('open', 'processing') order by id",
            merchant,
            order,
        ):
            try:
                await self.look(merchant, row["id"])
            except GatewayUnavailable as error:
                raise OutcomeUnknown(
                    "The payment gateway did not answer; repeat the request later"
                ) from error

    async def send_refund(self, merchant: UUID, refund: UUID) -> None:
        """Ask the gateway for a refund; its id is the key there. Raises GatewayUnavailable."""
        async with self._database.transaction() as tx:
            row = await tx.one(_REFUND, merchant, refund)
        if row is None:
            return
        payment = await read_payment_row(self._database, self._sealer, merchant, row["payment"])
        asked = RefundRow(
            id=refund, amount=row["amount"], currency=row["currency"], created_at=row["created_at"]
        )
        gateway = await self._gateways.gateway_of(payment)
        try:
            seen = await self._refund_seen(row, payment) or await gateway.refund(payment, asked)
        except GatewayRefused as error:
            seen = SeenRefund(
                ref="", amount=row["amount"], state="failed", ours=refund, failure=str(error)[:500]
            )
        await self._record_refund(row, seen)

    async def _refund_seen(self, row: Row, payment: PaymentRow) -> SeenRefund | None:
        """The refund at the gateway, if it was asked before: keys of gateways end after hours."""
        if row["attempts"] == 1:
            return None
        gateway = await self._gateways.gateway_of(payment)
        seen: Seen = await gateway.look(payment)
        return next((each for each in seen.refunds if each.ours == row["id"]), None)

    async def _record_refund(self, row: Row, seen: SeenRefund) -> None:
        async with self._database.transaction() as tx:
            await tx.run(  # payment before refund, as settling does
                "select id from florin.payment where merchant = $1 and id = $2 for no key update",
                row["merchant"],
                row["payment"],
            )
            locked = await tx.one(
                "select * from florin.payment_refund where merchant = $1 and id = $2"
                " for no key update",
                row["merchant"],
                row["id"],
            )
            assert locked is not None
            await resolve_refund_in(tx, locked, seen, actor=FLORIN)

    async def _is_over(self, row: PaymentRow) -> bool:
        found = await self._database.one(
            "select clock(merchant) >= expires_at as over from florin.payment"
            " where merchant = $1 and id = $2",
            row.merchant,
            row.id,
        )
        return found is not None and bool(found["over"])
