"""A merchant's look: its slug, colours and image, what is refused, and what its pages get."""

import asyncio
import base64
import itertools
import struct
import zlib
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.merchants.branding import SlugTaken, measure_contrast, require_free_slug
from florin.web.customer.brand import draw_sheet
from tests.support.api_calls import problem
from tests.support.instance import Instance, make_shop
from tests.support.members import SignedInMember, audited, register

LEVELS = (0x00, 0x40, 0x80, 0xC0, 0xFF)
COLORS = [f"#{r:02X}{g:02X}{b:02X}" for r, g, b in itertools.product(LEVELS, LEVELS, LEVELS)]


def png(width: int, height: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\0" + b"\x80" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    image += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


@pytest.fixture
async def boss(http: httpx.AsyncClient) -> SignedInMember:
    return await register(http)


async def change(http: httpx.AsyncClient, boss: SignedInMember, **fields: object) -> httpx.Response:
    return await http.patch("/merchant", json=fields, headers=boss.headers)


async def test_a_merchant_chooses_its_look(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    slug = f"quay-{boss.id[-8:]}"
    answer = await change(
        http, boss, name="Quay", slug=slug, card_color="#7a1f2b", line_color="#F2D08A",
        logo=png(64, 64),
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert (made["name"], made["slug"], made["card_color"]) == ("Quay", slug, "#7A1F2B")
    image = await http.get(f"{api.base}{made['logo']}")
    assert image.headers["content-type"] == "image/png"
    assert "immutable" in image.headers["cache-control"]
    [record] = await audited(http, boss, action="merchant.changed")
    assert record["after"]["logo"] == made["logo"].rpartition("/")[2]  # not the image itself
    kept = (await change(http, boss, line_color="#FFFFFF")).json()
    assert (kept["slug"], kept["logo"]) == (slug, made["logo"])
    gone = (await change(http, boss, slug=None, logo=None)).json()
    assert (gone["slug"], gone["logo"]) == (None, None)
    assert (await http.get(f"{api.base}{made['logo']}")).status_code == 404


async def test_a_slug_belongs_to_one_merchant(
    http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    slug = f"one-{boss.id[-8:]}"
    assert (await change(http, boss, slug=slug)).status_code == 200
    other = await register(http)
    refused = await change(http, other, slug=slug)
    assert problem(refused, 409, "slug_taken")["param"] == "slug"
    assert (await change(http, boss, slug=slug)).status_code == 200
    assert (await change(http, boss, slug=None)).status_code == 200
    assert (await change(http, other, slug=slug)).status_code == 200


async def test_a_slug_that_is_being_taken_is_waited_for(owner: Any, database: Database) -> None:
    one = (await make_shop(owner, database)).merchant
    other = (await make_shop(owner, database)).merchant
    slug = f"race-{one.hex[-8:]}"

    async def take() -> None:
        async with database.transaction() as tx:
            await require_free_slug(tx, other, slug)

    async with database.transaction() as tx:
        await require_free_slug(tx, one, slug)
        second = asyncio.create_task(take())
        while not await owner.fetchval(
            "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        ):
            assert not second.done(), "both took it"
            await asyncio.sleep(0.01)
        await tx.run("insert into florin.branding (merchant, slug) values ($1, $2)", one, slug)
    with pytest.raises(SlugTaken):
        await second


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slug", "Harbour"),
        ("slug", "a--b"),
        ("slug", "-a"),
        ("slug", "a"),
        ("slug", "s" * 41),
        ("card_color", "red"),
        ("line_color", "#1D3B5D"),  # as dark as the card
        ("logo", png(16, 64)),
        ("logo", png(64, 2000)),
        ("logo", "data:image/png;base64,PHN2Zz4="),
        ("logo", png(64, 64).replace("png", "jpeg")),
        ("logo", png(64, 64).replace("png", "svg")),
        ("logo", "https://evil.example/x.png"),
        ("logo", f"data:image/png;base64,{base64.b64encode(bytes(96_001)).decode()}"),
    ],
)
async def test_what_is_no_look_is_refused(
    http: httpx.AsyncClient, boss: SignedInMember, field: str, value: str
) -> None:
    refused = problem(await change(http, boss, **{field: value}), 422, "invalid_request")
    assert refused["param"] == field


async def test_a_sheet_is_made_of_two_colours_that_differ(
    api: Instance, http: httpx.AsyncClient
) -> None:
    sheet = await http.get(f"{api.base}/brand/1D3B5C-E9BE6B.css")
    assert sheet.headers["content-type"].startswith("text/css")
    assert "immutable" in sheet.headers["cache-control"]
    for name in ("1D3B5C.css", "1D3B5C-1D3B5C.css", "1d3b5c-e9be6b.css", "x"):
        assert (await http.get(f"{api.base}/brand/{name}")).status_code in {404, 422}


def test_text_reads_on_every_colour() -> None:
    for color in COLORS:
        sheet = draw_sheet(color, "#FFFFFF")
        values = dict(each.split(":", 1) for each in sheet.split(".m{")[1].split("}")[0].split(";"))
        assert measure_contrast(values["--brand"], values["--brand-ink"]) >= 4.5, color
        assert measure_contrast(values["--brand-h"], values["--brand-ink"]) >= 4.5, color
        assert measure_contrast(values["--brand-text"], "#F4F6F2") >= 4.5, color
        assert measure_contrast(values["--brand-text"], values["--brand-soft"]) >= 4.5, color
