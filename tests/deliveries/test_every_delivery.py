"""Every delivery: counted at the receivers, while workers are killed and receivers fail.

Each message arrives at least once, at its own address and with its own link. Those that arrive
again have the same Message-ID, and their delivery counts them.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from florin.deliveries.delivery import Channel, NewDelivery, enqueue_delivery
from florin.kit.postgres.database import Database
from tests.deliveries.conftest import PUBLIC_URL, mail_settings
from tests.deliveries.test_sending import CODE, LINKS, SEALER, make_card
from tests.support.receivers import MailServer
from tests.support.twilio_server import TwilioServer, twilio_server
from tests.support.waiting import until
from tests.support.workers import Crew

FAILING = 0.3  # of the messages, at either receiver
_TOKEN = re.compile(rf"{PUBLIC_URL}/c/([\w-]{{22}})")


@pytest.fixture
def twilio() -> Iterator[TwilioServer]:
    with twilio_server() as running:
        yield running


async def gift(
    database: Database, merchant: UUID, card: UUID, channel: Channel, address: str
) -> tuple[UUID, str]:
    """Make a delivery with its own link; return its id and the token of the link."""
    async with database.transaction() as tx:
        token = await LINKS.make(tx, merchant, card, CODE)
        new = NewDelivery(
            merchant=merchant,
            cause=f"test:{token}",
            kind="gift",
            channel=channel,
            card=card,
            address=address,
            secret=token,
        )
        return await enqueue_delivery(tx, new, SEALER), token


@pytest.mark.slow
async def test_every_message_arrives_although_workers_are_killed_and_receivers_fail(
    owner: Any,
    database: Database,
    workers: Crew,
    mails: MailServer,
    twilio: TwilioServer,
    pytestconfig: pytest.Config,
) -> None:
    each = 15 * int(pytestconfig.getoption("--rounds") or 0)  # messages of a merchant and channel
    mails.failing = twilio.failing = FAILING
    settings = mail_settings(mails) | twilio.settings
    expected: dict[str, tuple[UUID, str]] = {}
    for merchant, card in [await make_card(owner) for _ in range(2)]:
        for n in range(each):
            mail = f"person.{n}.{merchant.hex[-8:]}@home.example"
            phone = f"+49151{int(merchant.hex[-4:], 16):05d}{n:03d}"
            expected[mail] = await gift(database, merchant, card, "email", mail)
            expected[phone] = await gift(database, merchant, card, "sms", phone)
    for share in (0.2, 0.6):
        worker = workers.start("--concurrency", "4", **settings)

        def arrived(least: float = share) -> bool:
            return len(mails.mails) + len(twilio.texts) >= least * len(expected)

        await until(arrived, within_s=60)
        workers.kill(worker)  # between the receivers' answers and what they mean in the database
    workers.start("--concurrency", "4", **settings)

    async def ended() -> bool:
        # The delays after failures are not waited out.
        await owner.execute("update florin.queue_job set due_at = now() where state in (0, 3)")
        left = "select count(*) from florin.delivery where state in ('due', 'sending')"
        return await owner.fetchval(left) == 0

    await until(ended, within_s=120)
    tokens, ids = defaultdict[str, list[str]](list), defaultdict[str, set[str]](set)
    for mail_ in mails.mails:
        [address] = mail_.recipients
        tokens[address] += set(_TOKEN.findall(mail_.text))
        ids[address].add(str(mail_.message["Message-ID"]))
    for text in twilio.texts:
        tokens[text.to] += set(_TOKEN.findall(text.body))
    assert set(tokens) == set(expected), "to each address, and to no other"
    again = 0
    for address, (delivery, token) in expected.items():
        row = await owner.fetchrow("select * from florin.delivery where id = $1", delivery)
        assert row["state"] == "sent", dict(row)
        assert set(tokens[address]) == {token}, "each got its own link only"
        assert len(ids[address]) <= 1, "repeated under the same Message-ID"
        assert len(tokens[address]) - 1 <= row["repeated"], "each repetition is counted"
        again += len(tokens[address]) - 1
    print(f"{len(expected)} messages, {again} arrived again")
    assert again > 0, "the receivers lost no answer: this proved nothing"
