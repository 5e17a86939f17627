"""Pages: static files, errors, headers, origins and languages, over HTTP."""

import re
from importlib.resources import files
from io import BytesIO
from typing import Any

import httpx
import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from florin.kit.http.static_files import static_url
from florin.web.languages import choose_language, language_codes
from florin.web.local_paths import local_path
from tests.support.instance import NO_TLS, Instance
from tests.support.page_client import SAME_ORIGIN


@pytest.fixture
async def raw(api: Instance):
    async with httpx.AsyncClient(base_url=api.base, timeout=60, verify=NO_TLS) as client:
        yield client


async def test_static_files_are_immutable_compressed_and_named_by_content(
    raw: httpx.AsyncClient,
) -> None:
    sheet = await raw.get(static_url("florin.css"), headers={"accept-encoding": "gzip"})
    assert sheet.status_code == 200
    assert sheet.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert sheet.headers["content-encoding"] == "gzip"
    [font] = re.findall(r"url\(([^)]+)\)", sheet.text)
    assert (await raw.get(f"/static/{font}")).status_code == 200
    manifest = await raw.get(static_url("till.webmanifest"))
    assert manifest.headers["content-type"].startswith("application/manifest+json")
    icon = manifest.json()["icons"][0]["src"]
    assert (await raw.get(f"/static/{icon}")).status_code == 200
    assert (await raw.get("/static/florin.css")).status_code == 404


@pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*", "image/png"])
@pytest.mark.parametrize("path", ["/", "/nothing", "/static/none.css", "/console/none/none/none"])
async def test_what_is_not_there_is_a_page_whatever_is_accepted(
    raw: httpx.AsyncClient, path: str, accept: str
) -> None:
    answer = await raw.get(path, headers={"accept": accept})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-request-id"] in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api", "/api/v1/cards/x", "/health/nothing"])
async def test_the_api_keeps_its_problem_documents(raw: httpx.AsyncClient, path: str) -> None:
    answer = await raw.get(path, headers={"accept": "text/html"})
    assert answer.status_code in {401, 404}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_headers_of_a_page(raw: httpx.AsyncClient) -> None:
    answer = await raw.get("/sign-in")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "'unsafe" not in policy
    assert "form-action 'self' https://checkout.stripe.com https://www.paypal.com" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert " style=" not in answer.text
    assert not re.search(r"<script(?![^>]*src=)", answer.text)
    assert not re.search(r'\son\w+="', answer.text)


CROSS = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "{own}"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "{own}.evil.example"},
    {"origin": "http://sub.127.0.0.1"},
]
FORMS = [
    "/sign-in",
    "/reset",
    "/sign-out",
    "/till/take",
    "/console/orders/ord_x/refund",
    "/console/deliveries/dlv_x/resend-new-code",
    "/console/webhooks",
    "/console/webhooks/whe_x/rotate-secret",
    "/console/clock",
    "/nothing",
]
OWN = [
    SAME_ORIGIN,
    {"sec-fetch-site": "none"},
    {"origin": "{own}"},
    {},  # not a browser: it has no one's cookie but its own
]


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("headers", CROSS)
async def test_a_form_of_another_site_is_refused(
    api: Instance, raw: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    sent = {name: value.replace("{own}", api.base) for name, value in headers.items()}
    answer = await raw.post(path, data={"email": "a@b.example"}, headers=sent)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("headers", OWN)
async def test_a_form_of_this_site_is_accepted(
    api: Instance, raw: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    sent = {name: value.replace("{own}", api.base) for name, value in headers.items()}
    answer = await raw.post("/reset", data={"email": "a@b.example"}, headers=sent)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "///evil.example",  # no host by RFC 3986, yet one for a browser
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "/%0d%0aset-cookie:x\r\n",
        "/" + "a" * 600,
        "",
    ],
)
def test_no_page_leads_on_to_another_origin(target: str) -> None:
    assert local_path(target, "/console") == "/console"


def test_a_path_of_this_origin_is_kept() -> None:
    assert local_path("/console/cards?q=a%20b", "/") == "/console/cards?q=a%20b"


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("de-DE,de;q=0.9,en;q=0.8", "de"),
        ("en-US,de", "en"),
        ("fr", "en"),
        ("", "en"),
        ("de;q=x", "en"),
        ("," * 50_000, "en"),
    ],
)
def test_the_language_of_a_request(accepted: str, expected: str) -> None:
    assert choose_language(accepted) == expected


def test_every_text_has_a_translation_and_the_same_placeholders() -> None:
    web = files("florin").joinpath("web")
    found = extract_from_dir(
        str(web),
        [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")],
        {"templates/**.html": {"trim_blocks": "true", "silent": "false"}},
        keywords={"_": None, "gettext": None, "ngettext": (1, 2), "word": None},
    )
    texts = {message[0] if isinstance(message, tuple) else message for _, _, message, _, _ in found}
    assert len(texts) > 150
    for language in language_codes():
        if language == "en":
            continue
        path = web.joinpath("locales", language, "florin.po")
        catalogue = read_po(BytesIO(path.read_bytes()), locale=language)
        missing = [text for text in texts if not (catalogue.get(text) or _None).string]
        assert not missing, f"{language}: {len(missing)} texts: {sorted(missing)[:20]}"
        for message in catalogue:
            if message.id:
                assert _places(message.id) == _places(message.string), message.id
        stale = [each.id for each in catalogue if each.id and _first(each.id) not in texts]
        assert not stale, stale


class _None:
    string = ""


def _first(text: Any) -> str:
    return text if isinstance(text, str) else text[0]


def _places(text: Any) -> set[str]:
    return set(re.findall(r"%\(\w+\)s", text if isinstance(text, str) else " ".join(text)))
