"""Code in the mail: of a program that asks for it, with the voucher as a PDF; never a blank one."""

import io
from typing import Any

import httpx
import pypdf
import pytest

from tests.deliveries.conftest import PUBLIC_URL, mail_settings
from tests.deliveries.test_delivery_api import issue
from tests.support.api_calls import Json, made
from tests.support.instance import Shop
from tests.support.receivers import MailServer
from tests.support.waiting import until
from tests.support.workers import Crew


@pytest.fixture
async def program(http: httpx.AsyncClient, shop: Shop) -> str:
    """Its cards have a PIN and are mailed with their codes."""
    rules = {"name": "Gift", "currency": "EUR", "min_amount": 100, "max_amount": 50_000}
    found = await made(http, "/programs", {**rules, "pin": True, "code_in_mail": True})
    assert found["code_in_mail"] is True
    assert (await http.get(f"/programs/{shop.program}")).json()["code_in_mail"] is False
    return str(found["id"])


async def delivered(http: httpx.AsyncClient, shop: Shop, key: str, **more: Any) -> Json:
    answer = await issue(http, shop, key, deliver={"channel": "email", "locale": "de"}, **more)
    assert answer.status_code == 201, answer.text
    card: Json = answer.json()
    return card


async def reached(http: httpx.AsyncClient, card: Json, state: str) -> Json:
    async def there() -> bool:
        found = (await http.get(f"/deliveries/{card['delivery']}")).json()
        return bool(found["state"] == state)

    await until(there, within_s=30)
    found: Json = (await http.get(f"/deliveries/{card['delivery']}")).json()
    return found


def parts_of(mails: MailServer) -> tuple[str, str, str]:
    """The texts of the mail with a PDF: plain, as HTML, and of the PDF."""
    [mail] = [each for each in mails.mails if "application/pdf" in each.message.as_string()]
    plain, html, printed = [each for each in mail.message.walk() if not each.is_multipart()]
    assert printed.get_filename() == "voucher.pdf"
    document = pypdf.PdfReader(io.BytesIO(printed.get_content()))
    assert len(document.pages) == 1
    return plain.get_content(), html.get_content(), document.pages[0].extract_text()


async def test_the_mail_has_the_code_and_its_voucher(
    http: httpx.AsyncClient, shop: Shop, program: str, workers: Crew, mails: MailServer
) -> None:
    card = await delivered(http, shop, "with", program=program)
    without = await delivered(http, shop, "without")
    workers.start(**mail_settings(mails))
    await reached(http, card, "sent")
    await reached(http, without, "sent")
    for text in parts_of(mails):
        assert card["code"] in text
        assert f"PIN {card['pin']}" in text
        assert "Tomás" in text
    plain, html, _ = parts_of(mails)
    assert f"{PUBLIC_URL}/c/" in html
    assert "Ihr Code für die Kasse" in plain
    assert "Der angehängte Gutschein" in plain
    [other] = [each for each in mails.mails if "application/pdf" not in each.message.as_string()]
    assert without["code"] not in other.text


async def test_no_mail_has_a_code_that_was_replaced(
    http: httpx.AsyncClient, shop: Shop, program: str, workers: Crew, mails: MailServer
) -> None:
    card = await delivered(http, shop, "replaced", program=program)
    await made(http, f"/cards/{card['id']}/rotate-code", status=200)
    workers.start(**mail_settings(mails))
    found = await reached(http, card, "failed")
    assert "the code, which was replaced" in found["failure"]
    assert mails.mails == []
    again = f"/deliveries/{card['delivery']}/resend"
    await made(http, again, {"rotate_code": True}, status=200)
    await reached(http, card, "sent")
    [mail] = mails.mails
    assert card["code"] not in mail.text
    assert "Ihr Code für die Kasse" in mail.text
