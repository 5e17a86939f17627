"""Account mails: invitations, password resets and verifications, which identity only records.

Identity writes an e-mail token and a job in one transaction. The job makes the delivery and erases
the sealed token from identity's row: from then on only the delivery has it, until it is sent.
"""

from uuid import UUID

from florin.deliveries.delivery import CAUSE_OF_ACCOUNT, NewDelivery, enqueue_delivery
from florin.identity.credentials.email_tokens import EmailTokens
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.queue.job import PermanentFailure, QueuedJob

_TAKE = """
select t.merchant, t.id, t.kind, t.sealed, m.email, m.id as member
from florin.email_token t
join florin.member m on m.merchant = t.merchant and m.id = t.member
where t.merchant = $1 and t.id = $2 and t.sealed is not null and t.used_at is null
  and t.expires_at > clock_timestamp()
for update of t
"""
_TAKEN = """
update florin.email_token set sealed = null, delivered_at = clock_timestamp()
where merchant = $1 and id = $2
"""


async def prepare_account_mail(job: QueuedJob, tokens: EmailTokens, sealer: Sealer) -> None:
    """Make the delivery of an e-mail token; nothing if the token was used or has expired."""
    merchant, token = UUID(job.payload["merchant"]), UUID(job.payload["token"])
    async with job.effect(last=True) as tx:
        row = await tx.one(_TAKE, merchant, token)
        if row is None:
            return
        try:
            secret = tokens.token_of(row)
        except UnsealFailed:
            raise PermanentFailure("the key that sealed the e-mail token was removed") from None
        new = NewDelivery(
            merchant=merchant,
            cause=f"{CAUSE_OF_ACCOUNT}{token.hex}",
            kind=row["kind"],
            channel="email",
            address=row["email"],
            member=row["member"],
            secret=secret,
        )
        await enqueue_delivery(tx, new, sealer)
        await tx.run(_TAKEN, merchant, token)
