"""Jobs: what is enqueued about payments, in the transaction that causes it."""

from uuid import UUID

import msgspec

from florin.kit.queue.enqueue import NewJob

QUEUE = "payments"


def look_job(
    merchant: UUID,
    payment: UUID,
    *,
    cause: str = "due",
    trace: str | msgspec.UnsetType | None = msgspec.UNSET,
) -> NewJob:
    """Look at the payment at its gateway, and settle it. `cause`: the event that asks for it. Each
    event has a look of its own: one that runs already may have asked the gateway before it.
    `trace`: see NewJob.
    """
    return NewJob(
        queue=QUEUE,
        kind="look",
        payload={"merchant": str(merchant), "payment": str(payment)},
        dedupe=f"look:{payment}:{cause}",
        trace=trace,
    )


def refund_job(merchant: UUID, refund: UUID) -> NewJob:
    """Ask the gateway for the refund."""
    return NewJob(
        queue=QUEUE,
        kind="refund",
        payload={"merchant": str(merchant), "refund": str(refund)},
        dedupe=f"refund:{refund}",
    )


def account_events_job(merchant: UUID, gateway: UUID) -> NewJob:
    """List the events of a merchant's own account, for webhooks that were lost."""
    return NewJob(
        queue=QUEUE,
        kind="account-events",
        payload={"merchant": str(merchant), "gateway": str(gateway)},
        dedupe=f"account-events:{gateway}",
    )
