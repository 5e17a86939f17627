"""Sending: outages, refusals and killed workers; counted at the mail server."""

from typing import Any
from uuid import UUID

import pytest

from florin.deliveries.card_links import CardLinks
from florin.deliveries.delivery import NewDelivery, enqueue_delivery
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from tests.deliveries.conftest import PUBLIC_URL, mail_settings
from tests.ledger.calls import issue, make_merchant, make_program
from tests.support.instance import SECRETS
from tests.support.receivers import MailServer
from tests.support.receivers.smtp import OUTAGE, REJECTED
from tests.support.waiting import until
from tests.support.workers import Crew

SEALER = Sealer(SECRETS["FLORIN_SEAL_KEY"])
LINKS = CardLinks(seal_keys=(SECRETS["FLORIN_SEAL_KEY"],), peppers=(SECRETS["FLORIN_KEY_PEPPER"],))
CODE = "ABCDEFGHJKMNPQRS"
LOGO = b"\x89PNG\r\n\x1a\n and more"


async def make_card(owner: Any) -> tuple[UUID, UUID]:
    merchant = await make_merchant(owner)
    program = await make_program(owner, merchant)
    card = ids.new_id()
    await issue(owner, merchant, program, [card], [5000], activate=[True])
    return merchant, card


async def gift(database: Database, merchant: UUID, card: UUID, address: str) -> tuple[UUID, str]:
    """Make a delivery with its link; return its id and the token of the link."""
    async with database.transaction() as tx:
        token = await LINKS.make(tx, merchant, card, CODE)
        new = NewDelivery(
            merchant=merchant,
            cause=f"test:{token}",
            kind="gift",
            channel="email",
            card=card,
            address=address,
            message="Breakfast is on me.\n<b>Soon</b>",
            secret=token,
        )
        return await enqueue_delivery(tx, new, SEALER), token


async def state_of(owner: Any, delivery: UUID) -> dict[str, Any]:
    return dict(await owner.fetchrow("select * from florin.delivery where id = $1", delivery))


async def wait_for_state(owner: Any, delivery: UUID, state: str) -> dict[str, Any]:
    async def reached() -> bool:
        return (await state_of(owner, delivery))["state"] == state

    await until(reached)
    return await state_of(owner, delivery)


async def test_a_gift_arrives_with_its_link_and_without_its_code(
    owner: Any, database: Database, workers: Crew, mails: MailServer
) -> None:
    merchant, card = await make_card(owner)
    delivery, token = await gift(database, merchant, card, "tomas@home.example")
    workers.start(**mail_settings(mails))
    mail = mails.wait_for("€50.00", 30)
    await wait_for_state(owner, delivery, "sent")
    assert mail.recipients == ("tomas@home.example",)
    parts = [each for each in mail.message.walk() if not each.is_multipart()]
    assert [each.get_content_type() for each in parts] == ["text/plain", "text/html"]
    for part in parts:
        text = part.get_content()
        assert f"{PUBLIC_URL}/c/{token}" in text
        assert CODE not in text.replace("-", "")
        assert "Breakfast is on me." in text
    assert "<b>Soon</b>" not in parts[1].get_content()
    assert "<b>Soon</b>" in parts[0].get_content()


async def test_a_gift_arrives_in_the_look_of_its_merchant(
    owner: Any, database: Database, workers: Crew, mails: MailServer
) -> None:
    """Its image is in the message: nothing is fetched when it is opened."""
    merchant, card = await make_card(owner)
    await owner.execute(
        "insert into florin.branding (merchant, card_color, line_color, logo, logo_kind, logo_tag)"
        " values ($1, '#7A1F2B', '#F2D08A', $2, 'image/png', 'tag')",
        merchant,
        LOGO,
    )
    await gift(database, merchant, card, "tomas@home.example")
    workers.start(**mail_settings(mails))
    mail = mails.wait_for("€50.00", 30)
    parts = [each for each in mail.message.walk() if not each.is_multipart()]
    assert [each.get_content_type() for each in parts] == ["text/plain", "text/html", "image/png"]
    html, image = parts[1].get_content(), parts[2]
    assert image.get_content() == LOGO
    assert f'src="cid:{image["content-id"].strip("<>")}"' in html
    assert html.count("#7A1F2B") >= 2  # the card and the button
    assert "#1D3B5C" not in html
    assert "http" not in html.replace(PUBLIC_URL, "")


async def test_an_outage_delays_and_a_refusal_ends(
    owner: Any, database: Database, workers: Crew, mails: MailServer
) -> None:
    merchant, card = await make_card(owner)
    mails.fail(OUTAGE)
    mails.unknown.add("gone@home.example")
    late, _ = await gift(database, merchant, card, "late@home.example")
    workers.start(**mail_settings(mails))
    row = await wait_for_state(owner, late, "sent")
    assert (row["attempts"], row["repeated"], row["failure"]) == (2, 0, None)
    gone, _ = await gift(database, merchant, card, "gone@home.example")
    row = await wait_for_state(owner, gone, "bounced")
    assert row["attempts"] == 1
    assert "550" in row["failure"]
    mails.fail(REJECTED)
    spam, _ = await gift(database, merchant, card, "spam@home.example")
    row = await wait_for_state(owner, spam, "failed")
    assert row["attempts"] == 1
    assert [mail.recipients for mail in mails.mails] == [("late@home.example",)]


@pytest.mark.slow
async def test_a_killed_worker_repeats_under_the_same_message_id(
    owner: Any, database: Database, workers: Crew, mails: MailServer
) -> None:
    """The server took the message, and the worker died before it heard so."""
    merchant, card = await make_card(owner)
    mails.answers_after_s = 60
    delivery, _ = await gift(database, merchant, card, "twice@home.example")
    first = workers.start(**mail_settings(mails))
    mails.wait_for("€50.00", 30)
    workers.kill(first)
    assert (await state_of(owner, delivery))["state"] == "sending"
    mails.answers_after_s = 0
    workers.start(**mail_settings(mails))
    row = await wait_for_state(owner, delivery, "sent")
    assert (row["attempts"], row["repeated"]) == (2, 1)
    assert len(mails.mails) == 2
    assert len({mail.message["Message-ID"] for mail in mails.mails}) == 1


async def test_a_card_that_was_blocked_is_not_sent(
    owner: Any, database: Database, workers: Crew, mails: MailServer
) -> None:
    merchant, card = await make_card(owner)
    await owner.execute(
        "update florin.account set state = 'blocked' where merchant = $1 and id = $2",
        merchant,
        card,
    )
    delivery, _ = await gift(database, merchant, card, "blocked@home.example")
    workers.start(**mail_settings(mails))
    row = await wait_for_state(owner, delivery, "cancelled")
    assert row["failure"] == "the card is blocked"
    assert mails.attempts == 0
