"""Code sheet: the cards of a batch on paper, read back as a till would, and taken once."""

import io
from typing import Any

import httpx
import pypdf
import pytest
import typst
import zxingcpp

from florin.cards.jobs import code_sheet
from florin.cards.jobs.code_export import take_codes
from florin.deliveries.channels import print_sheet
from florin.deliveries.channels.pdf import PAPERS, Paper
from florin.deliveries.channels.print_sheet import PrintedCard, PrintSheet
from florin.deliveries.look import PLAIN
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from tests.cards.jobs.test_bulk_issue import ask, finished
from tests.support.api_calls import made, problem
from tests.support.instance import SECRETS, Shop
from tests.support.png import grey_rows
from tests.support.workers import Crew

SIZES = {"a4": (595, 842), "us-letter": (612, 792)}
CODES = [f"7K2M-9QXD-4V8R-TN{n:02d}" for n in range(11)]


def sheet(merchant: str = "Żółw & Møller") -> PrintSheet:
    cards = [
        PrintedCard(amount="€50.00", code=code, last_day="29 November 2031", pin="482913")
        for code in CODES
    ]
    return PrintSheet(merchant=merchant, locale="de", cards=cards, look=PLAIN)


@pytest.mark.parametrize("paper", PAPERS)
async def test_a_sheet_is_tagged_and_has_ten_cards_a_page(paper: Paper) -> None:
    made_: bytes = await print_sheet.render_sheet(sheet('#panic("x") ' + "long " * 40), paper)
    document: Any = pypdf.PdfReader(io.BytesIO(made_))
    assert [round(each) for each in document.pages[0].mediabox[2:]] == list(SIZES[paper])
    root = document.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "de"
    texts = [page.extract_text() for page in document.pages]
    assert [sum(code in text for code in CODES) for text in texts] == [10, 1]
    assert texts[0].count("PIN 482913") == 10
    assert "Gültig bis 29 November 2031" in texts[0]


@pytest.mark.parametrize("paper", PAPERS)
def test_a_scanner_reads_each_card(paper: Paper) -> None:
    compile_: Any = typst.compile
    pictures: list[bytes] = compile_(
        print_sheet.sheet_template(),
        format="png",
        ppi=150,
        ignore_system_fonts=True,
        sys_inputs=print_sheet.sheet_values(sheet(), paper),
    )
    rows = grey_rows(pictures[0])
    image = memoryview(b"".join(rows)).cast("B", (len(rows), len(rows[0])))
    read: Any = zxingcpp.read_barcodes(image)
    found = {(str(each.format).replace(" ", ""), each.text) for each in read}
    assert {text for kind, text in found if kind == "QRCode"} == set(CODES[:10])
    plain = {code.replace("-", "") for code in CODES[:10]}
    assert {text for kind, text in found if kind == "Code128"} == plain


async def test_the_cards_of_a_batch_are_printed_once(
    http: httpx.AsyncClient, shop: Shop, workers: Crew, owner: Any
) -> None:
    job = (await ask(http, shop, 12, "sheet", activate=False)).json()
    path = f"/jobs/{job['id']}/sheet.pdf"
    problem(await http.post(path), 409, "job_not_finished")
    workers.start()
    await finished(http, job["id"])
    problem(await http.post(path, params={"paper": "a3"}), 422, "invalid_request", param="paper")
    wrong = {"locale": "xx"}
    problem(await http.post(path, params=wrong), 422, "invalid_request", param="locale")
    assert (await http.get(path)).status_code == 405
    taken = await http.post(path, params={"paper": "us-letter", "locale": "de"})
    assert taken.status_code == 200, taken.text
    assert taken.headers["content-type"] == "application/pdf"
    assert taken.headers["cache-control"] == "no-store"
    pages = pypdf.PdfReader(io.BytesIO(taken.content)).pages
    assert len(pages) == 2
    text = "\n".join(page.extract_text() for page in pages)
    cards = [line.strip() for line in text.splitlines() if line.strip().count("-") == 3]
    assert len(set(cards)) == 12
    assert "25,00\N{NO-BREAK SPACE}€" in text
    found = await made(http, "/cards/lookup", {"code": cards[0]}, status=200)
    assert found["state"] == "pending"
    problem(await http.post(path), 410, "codes_taken")
    problem(await http.post(f"/jobs/{job['id']}/codes"), 410, "codes_taken")
    assert await owner.fetchval("select count(*) from florin.job_code_export") == 0
    audit = (await http.get("/audit", params={"subject": job["id"]})).json()["data"]
    assert {"codes.download_began", "codes.taken"} <= {each["action"] for each in audit}


async def test_a_sheet_that_cannot_be_made_takes_no_codes(
    http: httpx.AsyncClient,
    shop: Shop,
    workers: Crew,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = (await ask(http, shop, 3, "none")).json()
    workers.start()
    await finished(http, job["id"])
    sealer = Sealer(SECRETS["FLORIN_SEAL_KEY"])
    by = AuditActor(merchant=shop.merchant, actor="key_1")
    uuid = ids.require_id("job", job["id"])

    async def broken(exported: str) -> bytes:
        assert exported.count("\n") == 4
        raise RuntimeError

    with pytest.raises(RuntimeError):
        async for _ in await take_codes(database, sealer, by, uuid, broken):
            pass
    assert (await http.get(f"/jobs/{job['id']}")).json()["codes"] == "downloading"
    monkeypatch.setattr(code_sheet, "SHEET_MAX", 2)
    with pytest.raises(code_sheet.SheetTooLarge, match="this job made 3"):
        await code_sheet.take_sheet(database, sealer, by, uuid, paper="a4", locale="en")
    monkeypatch.setattr(code_sheet, "SHEET_MAX", 3)
    pages = await code_sheet.take_sheet(database, sealer, by, uuid, paper="a4", locale="en")
    assert b"".join([part async for part in pages]).startswith(b"%PDF")
    assert (await http.get(f"/jobs/{job['id']}")).json()["codes"] == "taken"
