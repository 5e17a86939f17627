"""Effects of the jobs of deliveries; see job_effects.py."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from florin.identity.credentials.email_tokens import token_binding
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.queue.enqueue import NewJob
from tests.cards.jobs.cleanup_effects import CARDS, Check
from tests.ledger.calls import issue, make_merchant, make_program
from tests.support.instance import SECRETS

_DELIVERY = (
    "insert into florin.delivery (merchant, id, cause, kind, channel, state, card, address, due_at,"
    " secret_sealed, secret_until) values ($1, $2, $3, 'gift', 'email', $4, $5, 'a@b.example',"
    " now() - interval '1 hour', 'x', now() + $6::interval)"
)


async def _card(owner: Any) -> tuple[UUID, UUID]:
    merchant, card = await make_merchant(owner), ids.new_id()
    program = await make_program(owner, merchant)
    await issue(owner, merchant, program, [card], [100], activate=[True])
    return merchant, card


async def _delivery(owner: Any, state: str, *, kept: timedelta) -> tuple[UUID, UUID]:
    merchant, card = await _card(owner)
    made = ids.new_id()
    await owner.execute(_DELIVERY, merchant, made, f"test:{made}", state, card, kept)
    return merchant, made


async def send(owner: Any) -> tuple[NewJob, Check]:
    """Without a mail server it waits, and no attempt is counted."""
    merchant, made = await _delivery(owner, "due", kept=timedelta(days=1))

    async def check() -> None:
        row = await owner.fetchrow("select * from florin.delivery where id = $1", made)
        assert (row["state"], row["attempts"]) == ("due", 0)
        assert "SMTP_HOST" in row["failure"]

    payload = {"merchant": str(merchant), "delivery": str(made), "generation": 1}
    return NewJob(queue="email-delivery", kind="send", payload=payload), check


async def send_sms(owner: Any) -> tuple[NewJob, Check]:
    """Without an account at a gateway it waits, and no attempt is counted."""
    merchant, made = await _delivery(owner, "due", kept=timedelta(days=1))
    await owner.execute("update florin.delivery set channel = 'sms' where id = $1", made)

    async def check() -> None:
        row = await owner.fetchrow("select * from florin.delivery where id = $1", made)
        assert (row["state"], row["attempts"]) == ("due", 0)
        assert "TWILIO_ACCOUNT_SID" in row["failure"]

    payload = {"merchant": str(merchant), "delivery": str(made), "generation": 1}
    return NewJob(queue="sms-delivery", kind="send", payload=payload), check


async def account(owner: Any) -> tuple[NewJob, Check]:
    merchant, member, token = await make_merchant(owner), ids.new_id(), ids.new_id()
    await owner.execute(
        "insert into florin.member (merchant, id, email, role) values ($1, $2, $3, 'viewer')",
        *(merchant, member, f"{member.hex}@shop.example"),
    )
    sealer = Sealer(SECRETS["FLORIN_SEAL_KEY"])
    await owner.execute(
        "insert into florin.email_token (merchant, id, member, kind, hash, sealed, expires_at)"
        " values ($1, $2, $3, 'invitation', $4, $5, now() + interval '1 day')",
        *(merchant, token, member, token.bytes),
        sealer.seal("flt_token", bound_to=token_binding(merchant, token)),
    )

    async def check() -> None:
        made = await owner.fetch("select * from florin.delivery where merchant = $1", merchant)
        assert [(row["kind"], row["member"]) for row in made] == [("invitation", member)]
        row = await owner.fetchrow("select * from florin.email_token where id = $1", token)
        assert row["sealed"] is None
        assert row["delivered_at"] is not None

    payload = {"merchant": str(merchant), "token": str(token)}
    return NewJob(queue="email-delivery", kind="account", payload=payload), check


async def sweep(owner: Any) -> tuple[NewJob, Check]:
    _, made = await _delivery(owner, "waiting", kept=timedelta(days=1))

    async def check() -> None:
        state = await owner.fetchval("select state from florin.delivery where id = $1", made)
        assert state == "due"

    return NewJob(queue="scheduled-delivery", kind="sweep"), check


async def reminders(owner: Any) -> tuple[NewJob, Check]:
    merchant = await make_merchant(owner)
    program = await make_program(owner, merchant)
    made = [ids.new_id() for _ in range(CARDS)]
    await issue(owner, merchant, program, made, [100] * CARDS, activate=[True] * CARDS)
    await owner.execute(
        "update florin.account set issued_at = now() - interval '60 days',"
        # A fraction of a second that rounds up: no card may be found due again because of it.
        " expires_at = date_trunc('second', now()) + interval '20 days 0.9 seconds'"
        " where merchant = $1",
        merchant,
    )
    await owner.execute(
        "update florin.card set recipient_email = 'a@b.example' where merchant = $1", merchant
    )

    async def check() -> None:
        rows = await owner.fetch(
            "select card from florin.delivery where merchant = $1 and kind = 'reminder'", merchant
        )
        assert sorted(row["card"] for row in rows) == sorted(made)

    return NewJob(queue="expiry-reminders", kind="find"), check


async def erase_secrets(owner: Any) -> tuple[NewJob, Check]:
    _, old = await _delivery(owner, "sent", kept=timedelta(seconds=-1))
    _, young = await _delivery(owner, "sent", kept=timedelta(hours=1))

    async def check() -> None:
        rows = await owner.fetch(
            "select id from florin.delivery where id = any($1) and secret_sealed is not null",
            [old, young],
        )
        assert [row["id"] for row in rows] == [young]

    return NewJob(queue="retention", kind="secrets"), check


DELIVERIES = {
    ("email-delivery", "send"): send,
    ("sms-delivery", "send"): send_sms,
    ("email-delivery", "account"): account,
    ("scheduled-delivery", "sweep"): sweep,
    ("expiry-reminders", "find"): reminders,
    ("retention", "secrets"): erase_secrets,
}
