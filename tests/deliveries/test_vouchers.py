"""Vouchers: read back as a till, a screen reader and a printer would."""

import builtins
import io
from typing import Any

import httpx
import pypdf
import pytest
import typst
import zxingcpp

from florin.deliveries.channels import pdf
from florin.deliveries.channels.pdf import PdfNotInstalled, Voucher, render_voucher
from tests.deliveries.test_delivery_api import issue, page
from tests.support.api_calls import problem
from tests.support.instance import Shop
from tests.support.png import grey_rows

HOSTILE = '#panic("x") *a* $x$ [b] <c> @d \\ "quoted" // no comment'
VOUCHER = Voucher(
    merchant="Żółw & Møller",
    locale="en",
    amount="€50.00",
    last_day="29 November 2031",
    name=HOSTILE,
    message=f"First line\n{HOSTILE}\nĎakujem",
    code="7K2M-9QXD-4V8R-TN3B",
    barcode="7K2M9QXD4V8RTN3B",
    pin="482913",
)
SIZES = {"a4": (595, 842), "us-letter": (612, 792)}


@pytest.mark.parametrize("paper", pdf.PAPERS)
async def test_a_voucher_is_one_tagged_page_with_its_fonts(paper: pdf.Paper) -> None:
    document: Any = pypdf.PdfReader(io.BytesIO(await render_voucher(VOUCHER, paper)))
    assert len(document.pages) == 1
    box = document.pages[0].mediabox
    assert (round(box.width), round(box.height)) == SIZES[paper]
    root = document.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    assert "/StructTreeRoot" in root
    fonts = document.pages[0]["/Resources"]["/Font"]
    assert len(fonts) >= 2
    for font in fonts.values():
        [descendant] = font.get_object()["/DescendantFonts"]
        descriptor = descendant.get_object()["/FontDescriptor"]
        assert {"/FontFile2", "/FontFile3"} & set(descriptor)
    text = document.pages[0].extract_text()
    for word in ("Żółw & Møller", "€50.00", VOUCHER.code, "482913", "#panic", "Ďakujem"):
        assert word in text, text


def test_a_scanner_reads_both_codes() -> None:
    """The picture of the page that the same source makes."""
    compile_: Any = typst.compile
    picture: bytes = compile_(
        pdf.voucher_template(),
        format="png",
        ppi=120,
        ignore_system_fonts=True,
        sys_inputs=pdf.voucher_values(VOUCHER, "a4"),
    )
    rows = grey_rows(picture)
    image = memoryview(b"".join(rows)).cast("B", (len(rows), len(rows[0])))
    read: Any = zxingcpp.read_barcodes(image)
    found = {str(each.format).replace(" ", ""): each.text for each in read}
    assert found == {"QRCode": VOUCHER.code, "Code128": VOUCHER.barcode}


async def test_without_typst_the_answer_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name == "typst":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PdfNotInstalled, match=r"florin\[pdf\]"):
        await render_voucher(VOUCHER, "a4")


async def test_staff_and_holder_get_the_voucher(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    card = (await issue(http, shop, "voucher", deliver={"channel": "link"})).json()
    path = f"/cards/{card['id']}/voucher.pdf"
    of_staff = await http.get(path)
    of_holder = await page(f"{card['url']}/card.pdf?paper=us-letter")
    for answer in (of_staff, of_holder):
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/pdf"
        text = pypdf.PdfReader(io.BytesIO(answer.content)).pages[0].extract_text()
        assert card["code"] in text
        assert "Tomás" in text
    problem(await http.get(path, params={"paper": "a3"}), 422, "invalid_request", param="paper")
    await owner.execute(
        "update florin.card set sealed_until = now() - interval '1 second' where merchant = $1",
        shop.merchant,
    )
    problem(await http.get(path), 409, "code_not_available")
    await http.post(f"/cards/{card['id']}/block")
    problem(await http.get(path), 409, "card_not_deliverable")
    assert (await page(f"{card['url']}/card.pdf")).status_code == 404
