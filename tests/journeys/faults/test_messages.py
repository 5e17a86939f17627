"""Messages: a fleet is deployed and its primary is lost while it sends; counted at the receivers.

Every card that is issued meanwhile is mailed to its recipient and reported to an endpoint. Both
come at least once; what comes again has the same id; nothing comes to anyone else.
"""

import asyncio
import re
import signal
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import httpx
import pytest

from florin.bench.scenarios import faulty_releases
from tests.deliveries.conftest import PUBLIC_URL, mail_settings
from tests.ops.conftest import until
from tests.ops.replicated_fleet import Fleet
from tests.support.api_calls import Json, made, read
from tests.support.receivers import MailServer, mail_server
from tests.support.receivers.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.support.waiting import until as eventually

SELLERS = 4
BEFORE_S, AFTER_S = 2.0, 2.0
_LINK = re.compile(rf"{PUBLIC_URL}/c/([\w-]{{22}})")
Receivers = tuple[MailServer, WebhookReceiver]


@pytest.fixture
async def receivers() -> AsyncGenerator[Receivers]:
    with mail_server() as mails:
        async with webhook_receiver() as receiver:
            yield mails, receiver


def deploy(fleet: Fleet, folder: Path) -> None:
    release = faulty_releases.make_faulty_release(folder, "good")
    said = fleet.florin("deploy", "--blue-green", "--release", str(release), "--soak", "0s")
    assert said.returncode == 0, said.stderr


def lose_the_primary(fleet: Fleet, _folder: Path) -> None:
    before = fleet.signal(signal.SIGKILL)
    until(lambda: fleet.whole() and fleet.primary().name != before, "another primary")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lose_the_primary, marks=pytest.mark.slow),
        pytest.param(deploy, marks=pytest.mark.long_form("fleets")),
    ],
)
async def test_every_message_arrives_while_a_fleet_changes(
    tmp_path: Path, receivers: Receivers, fault: Callable[[Fleet, Path], None]
) -> None:
    mails, receiver = receivers
    fleet = Fleet(_home(tmp_path), "--replicas", "2", "--workers", "2")
    fleet.environ |= {**mail_settings(mails), "FLORIN_WEBHOOK_ALLOW": "127.0.0.0/8"}
    try:
        await asyncio.to_thread(fleet.up)
        async with fleet.http() as http:
            body = {"url": receiver.url(), "events": ["card.issued"]}
            found = await made(http, "/webhook-endpoints", body)
            receiver.secrets["/hook"] = found["secret"]
            cards = await _sell_during(http, lambda: fault(fleet, tmp_path))
            await _judge(http, cards, mails, receiver)
    finally:
        await asyncio.to_thread(fleet.end)


def _home(folder: Path) -> Path:
    """Open to the user of PostgreSQL."""
    folder.chmod(0o755)
    home = folder / "fleet"
    home.mkdir(mode=0o755)
    return home


async def _sell_during(http: httpx.AsyncClient, fault: Callable[[], None]) -> dict[str, Json]:
    """Cards by the address of their recipients."""
    cards: dict[str, Json] = {}
    ended = asyncio.Event()

    async def sell(seller: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            address = f"person.{seller}.{number}@home.example"
            body = {
                "program": http.headers["x-program"],
                "amount": 1000,
                "recipient": {"email": address},
                "deliver": {"channel": "email"},
            }
            cards[address] = await _issue(http, body, address)

    selling = [asyncio.ensure_future(sell(seller)) for seller in range(SELLERS)]
    await asyncio.sleep(BEFORE_S)
    try:
        await asyncio.to_thread(fault)
        await asyncio.sleep(AFTER_S)
    finally:
        ended.set()
    await asyncio.gather(*selling)
    return cards


async def _issue(http: httpx.AsyncClient, body: Json, key: str) -> Json:
    """Under the same key until it is answered, as a client should."""
    async with asyncio.timeout(60):
        while True:
            try:
                answer = await http.post("/cards", json=body, headers={"Idempotency-Key": key})
                if answer.status_code == 201:
                    return answer.json()
                assert answer.status_code >= 500, answer.text
            except httpx.TransportError:
                pass  # its outcome is unknown
            await asyncio.sleep(0.1)


async def _judge(
    http: httpx.AsyncClient, cards: dict[str, Json], mails: MailServer, receiver: WebhookReceiver
) -> None:
    wanted = {card["id"] for card in cards.values()}

    def reported() -> set[str]:
        return {each["data"]["object"]["id"] for each in receiver.messages["/hook"]}

    def mailed() -> set[str]:
        return {address for mail in list(mails.mails) for address in mail.recipients}

    await eventually(lambda: set(cards) <= mailed() and wanted <= reported(), within_s=120)
    await asyncio.sleep(3)  # what was sent twice has come twice
    assert mailed() == set(cards), "no other address"
    assert reported() == wanted, "no other card"
    assert receiver.invalid == []
    ids, links = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for mail in mails.mails:
        [address] = mail.recipients
        ids[address].add(str(mail.message["Message-ID"]))
        links[address] |= set(_LINK.findall(mail.text))
    assert {len(each) for each in ids.values()} == {1}, "repeated under the same Message-ID"
    assert {len(each) for each in links.values()} == {1}
    every = {link for each in links.values() for link in each}
    assert len(every) == len(cards), "each has a link of its own"
    events = {each["id"]: each["data"]["object"]["id"] for each in receiver.messages["/hook"]}
    assert len(events) == len(cards), "repeated under the same id"
    again = len(mails.mails) - len(cards), len(receiver.messages["/hook"]) - len(cards)
    print(f"{len(cards)} cards; again: {again[0]} mails, {again[1]} messages to the endpoint")
    assert (await read(http, "/ledger/proof"))["balanced"]
