"""Notices: who subscribes gets one mail for each cause, and no one else any."""

import time
import uuid
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.webhooks.http_client import Attempt
from florin.webhooks.outcomes import Outcome, write_outcomes
from tests.deliveries.conftest import PUBLIC_URL, mail_settings
from tests.support.api_calls import Json, made, problem, read
from tests.support.instance import Instance
from tests.support.members import SignedInMember, member, register
from tests.support.page_client import page_client, sign_in
from tests.support.receivers import MailServer
from tests.support.waiting import until
from tests.support.workers import Crew

ALL = ["delivery.bounced", "job.failed", "job.finished", "webhook_endpoint.disabled"]


@pytest.fixture
async def subscriber(http: httpx.AsyncClient) -> SignedInMember:
    """An owner who signed in and subscribed to everything."""
    who = await register(http)
    http.headers.update(who.headers)
    assert (await read(http, "/auth/notices"))["about"] == []
    answer = await http.patch("/auth/notices", json={"about": [*reversed(ALL)]})
    assert answer.json()["about"] == ALL, answer.text
    return who


async def program_of(http: httpx.AsyncClient) -> str:
    rules = {"name": "P", "currency": "EUR", "min_amount": 100, "max_amount": 5000}
    return str((await made(http, "/programs", rules))["id"])


async def notices(owner: Any, who: SignedInMember, about: str) -> list[Json]:
    """The mails to staff about something, once the sweep has run."""
    await enqueue_now(owner, NewJob(queue="scheduled-delivery", kind="sweep"))

    async def sent() -> bool:
        left = "select count(*) from florin.queue_job where state in (0, 1) and queue in"
        left += " ('scheduled-delivery', 'email-delivery')"
        open_ = "select count(*) from florin.delivery where state in ('waiting', 'due', 'sending')"
        return await owner.fetchval(left) == 0 and await owner.fetchval(open_) == 0

    await until(sent, within_s=30)
    rows = await owner.fetch(
        "select d.* from florin.delivery d join florin.member b on b.merchant = d.merchant"
        " where b.email = $1 and d.data->>'about' = $2 order by d.id",
        who.email,
        about,
    )
    return [dict(row) for row in rows]


async def test_each_subscribes_to_what_the_role_may_read(
    http: httpx.AsyncClient, subscriber: SignedInMember
) -> None:
    cashier = await member(http, subscriber, "cashier")
    one = {"about": ["job.finished"]}
    answer = await http.patch("/auth/notices", json=one, headers=cashier.headers)
    assert answer.json() == {"object": "notice_subscription", **one}
    refused = await http.patch("/auth/notices", json={"about": ALL}, headers=cashier.headers)
    problem(refused, 403, "forbidden")
    kept = await http.get("/auth/notices", headers=cashier.headers)
    assert kept.json()["about"] == ["job.finished"]
    wrong = await http.patch("/auth/notices", json={"about": ["job.begun"]})
    problem(wrong, 422, "invalid_request")
    assert (await http.patch("/auth/notices", json={"about": []})).json()["about"] == []


async def test_the_page_of_the_account_changes_it(
    api: Instance, http: httpx.AsyncClient, subscriber: SignedInMember
) -> None:
    async with page_client(api, **{"accept-language": "de"}) as client:
        await sign_in(client, subscriber.email)
        page = (await client.get("/account")).text
        assert page.count('name="about"') == page.count(" checked") == 4
        assert "Eine Nachricht an eine beschenkte Person kam zurück" in page
        answer = await client.post("/account/notices", data={"about": ["job.failed"]})
        assert answer.headers["location"] == "/account?done=notices-changed"
    assert (await read(http, "/auth/notices"))["about"] == ["job.failed"]


async def test_a_job_that_ends_is_one_mail(
    http: httpx.AsyncClient,
    subscriber: SignedInMember,
    owner: Any,
    workers: Crew,
    mails: MailServer,
) -> None:
    viewer = await member(http, subscriber, "viewer")  # did not subscribe
    program = await program_of(http)
    worker = workers.start(**mail_settings(mails))
    bulk = {"program": program, "amount": 500, "quantity": 3}
    job = await made(http, "/cards/bulk", bulk, status=202)

    async def ended() -> bool:
        found = await read(http, f"/jobs/{job['id']}")
        return found["state"] in {"finished", "failed"}

    await until(ended, within_s=30)
    [notice] = await notices(owner, subscriber, "job.finished")
    assert (notice["address"], notice["state"]) == (subscriber.email, "sent")
    [mail] = [each for each in mails.mails if "A job has finished" in each.subject]
    assert mail.recipients == (subscriber.email,)
    assert viewer.email not in {to for each in mails.mails for to in each.recipients}
    assert "3 of 3 cards" in mail.subject
    assert f"{PUBLIC_URL}/console/jobs/{job['id']}" in mail.text
    # One that fails: the program changes before its turn comes.
    workers.stop(worker)
    job = await made(http, "/cards/bulk", bulk, status=202)
    await owner.execute("update florin.job set amounts_accepted = false where state = 'queued'")
    await owner.execute("update florin.program set max_amount = 200")
    workers.start(**mail_settings(mails))
    await until(ended, within_s=30)
    for _ in range(3):
        assert len(await notices(owner, subscriber, "job.failed")) == 1
    assert len([each for each in mails.mails if "A job has failed" in each.subject]) == 1
    assert len(await notices(owner, subscriber, "job.finished")) == 1


async def test_a_bounce_is_one_mail_and_names_no_one(
    http: httpx.AsyncClient,
    subscriber: SignedInMember,
    owner: Any,
    workers: Crew,
    mails: MailServer,
) -> None:
    program = await program_of(http)
    await owner.execute("update florin.merchant set country = 'DE'")
    mails.unknown.add("gone@home.example")
    workers.start(**mail_settings(mails))
    gift = {"recipient": {"email": "gone@home.example"}, "deliver": {"channel": "email"}}
    card = await made(http, "/cards", {"program": program, "amount": 500, **gift})
    path = f"/deliveries/{card['delivery']}"

    async def bounced() -> bool:
        return bool((await read(http, path))["state"] == "bounced")

    await until(bounced, within_s=30)
    [notice] = await notices(owner, subscriber, "delivery.bounced")
    assert notice["address"] == subscriber.email
    [mail] = [each for each in mails.mails if "kam zurück" in each.subject]
    assert "gone@home.example" not in mail.text
    assert f"{PUBLIC_URL}/console{path}" in mail.text
    # A mail to staff that comes back is no cause: it would go on for ever.
    mails.unknown.add(subscriber.email)
    await made(http, f"{path}/resend", {}, status=200)
    await until(bounced, within_s=30)
    assert len(await notices(owner, subscriber, "delivery.bounced")) == 2
    assert len(await notices(owner, subscriber, "delivery.bounced")) == 2


async def test_an_endpoint_that_is_disabled_is_one_mail(
    http: httpx.AsyncClient,
    subscriber: SignedInMember,
    owner: Any,
    database: Database,
    workers: Crew,
    mails: MailServer,
) -> None:
    body = {"url": "https://93.184.216.34/hook", "events": ["*"]}
    found = await made(http, "/webhook-endpoints", body)
    endpoint = uuid.UUID(found["id"][4:])
    gone = Attempt(at=time.time(), status=410, duration_ms=5)
    merchant = await owner.fetchval(
        "select merchant from florin.webhook_endpoint where id = $1", endpoint
    )
    outcome = Outcome(merchant, endpoint, uuid.uuid4(), 1, gone)
    for _ in range(2):
        async with database.transaction() as tx:
            await write_outcomes(tx, [outcome])
    workers.start(**mail_settings(mails))
    [notice] = await notices(owner, subscriber, "webhook_endpoint.disabled")
    assert notice["address"] == subscriber.email
    [mail] = [each for each in mails.mails if "endpoint was disabled" in each.subject]
    assert "410 Gone" in mail.text
    assert "https://93.184.216.34/hook" in mail.text


async def test_who_may_not_read_it_any_more_gets_nothing(
    http: httpx.AsyncClient,
    subscriber: SignedInMember,
    owner: Any,
    database: Database,
    workers: Crew,
    mails: MailServer,
) -> None:
    manager = await member(http, subscriber, "manager")
    await http.patch("/auth/notices", json={"about": ALL}, headers=manager.headers)
    await owner.execute("update florin.member set role = 'cashier' where email = $1", manager.email)
    merchant = await owner.fetchval(
        "select merchant from florin.member where email = $1", manager.email
    )
    about, data = "webhook_endpoint.disabled", f'{{"endpoint": "{uuid.uuid4()}"}}'
    async with database.transaction() as tx:
        for _ in range(2):
            await tx.run("select notify_staff($1, $2, 'x', $3::text::jsonb)", merchant, about, data)
    workers.start(**mail_settings(mails))
    found = await notices(owner, subscriber, about)
    states = {each["address"]: each["state"] for each in found}
    assert states == {subscriber.email: "sent", manager.email: "cancelled"}
