"""Account mails: what identity records reaches its member, through deliveries."""

import re
from typing import Any

from tests.deliveries.conftest import PUBLIC_URL, mail_settings
from tests.support.instance import Instance
from tests.support.members import address, client_of, register
from tests.support.page_client import hidden_fields, page_client
from tests.support.receivers import MailServer
from tests.support.waiting import until
from tests.support.workers import Crew

_TOKEN = re.compile(r"flt_[\w-]{40,}")


async def states(owner: Any, email: str) -> list[str]:
    rows = await owner.fetch(
        "select state from florin.delivery where address = $1 order by id", email
    )
    return [row["state"] for row in rows]


async def test_a_verification_arrives_and_verifies(
    api: Instance, owner: Any, workers: Crew, mails: MailServer
) -> None:
    workers.start(**mail_settings(mails))
    async with client_of(api) as http:
        someone = await register(http)
        await http.post("/auth/email-verifications", json={"email": someone.email})
        mail = mails.wait_for("Confirm your e-mail address", 30)
        assert mail.recipients == (someone.email,)
        assert mail.message["From"] == "Florin <cards@shop.example>"
        assert mail.message["Auto-Submitted"] == "auto-generated"
        tokens = set(_TOKEN.findall(mail.text))
        assert len(tokens) == 1  # the same in both forms of the message
        answer = await http.post("/auth/email-verifications/confirm", json={"token": tokens.pop()})
    assert answer.status_code == 200, answer.text
    assert answer.json()["email_verified"] is True

    async def sent() -> bool:
        return set(await states(owner, someone.email)) == {"sent"}

    await until(sent)
    kept = await owner.fetchval(
        "select (select count(*) from florin.delivery where secret_sealed is not null)"
        " + (select count(*) from florin.email_token where sealed is not null)"
    )
    assert kept == 0


async def test_a_token_that_was_used_meanwhile_is_not_sent(
    api: Instance, owner: Any, workers: Crew, mails: MailServer
) -> None:
    """Without a mail server the mail waits; when there is one, its token may be over."""
    first = workers.start()
    async with client_of(api) as http:
        someone = await register(http)
        await http.post("/auth/password-resets", json={"email": someone.email})

        async def waits() -> bool:
            row = await owner.fetchrow(
                "select state, failure, attempts from florin.delivery"
                " where address = $1 and kind = 'password_reset'",
                someone.email,
            )
            return row is not None and row["failure"] is not None

        await until(waits)
    row = await owner.fetchrow(
        "select * from florin.delivery where address = $1 and kind = 'password_reset'",
        someone.email,
    )
    assert (row["state"], row["attempts"]) == ("due", 0)
    assert "SMTP_HOST" in row["failure"]
    workers.stop(first)
    await owner.execute("update florin.email_token set expires_at = now() - interval '1 minute'")
    await owner.execute("update florin.delivery set changed_at = now() - interval '6 minutes'")
    await owner.execute(
        "select queue_put(array['scheduled-delivery'], array['sweep'], array[1], array['{}'],"
        " array[0], array[null::timestamptz], array[null::text], array[null::text], null)"
    )
    workers.start(**mail_settings(mails))

    async def over() -> bool:
        return set(await states(owner, someone.email)) == {"cancelled"}

    await until(over)
    assert mails.attempts == 0


async def test_each_mail_leads_to_the_page_that_uses_its_token(
    api: Instance, workers: Crew, mails: MailServer
) -> None:
    workers.start(**mail_settings(mails))
    async with client_of(api) as http:
        owner = await register(http)
        guest = {"email": address("guest"), "role": "cashier"}
        invited = await http.post("/members", json=guest, headers=owner.headers)
        assert invited.status_code == 201, invited.text
        await http.post("/auth/email-verifications", json={"email": owner.email})
        await http.post("/auth/password-resets", json={"email": owner.email})
    password = {"password": "an unguessable sentence"}
    async with page_client(api) as browser:
        for subject, path, sent in (
            ("invited", "/invite/", password),
            ("Confirm your e-mail address", "/verify/", {}),
            ("Set a new password", "/reset?token=", password),
        ):
            text = mails.wait_for(subject, 30).text
            links = set(re.findall(rf"{re.escape(PUBLIC_URL + path)}flt_[\w-]{{40,}}", text))
            assert len(links) == 1, text  # the same in both forms of the message
            link = links.pop().removeprefix(PUBLIC_URL)
            page = await browser.get(link)
            assert page.status_code == 200
            assert page.headers["referrer-policy"] == "no-referrer"
            to = link.partition("?")[0]
            done = await browser.post(to, data=hidden_fields(page.text) | sent)
            assert done.status_code == 303, done.text
            assert done.headers["location"].startswith("/sign-in")
