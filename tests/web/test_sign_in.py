"""Sign-in for people: the cookie, its rotation on any instance, and every page around it."""

import asyncio
import base64
import re
import time
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from florin.kit.encryption import Sealer
from tests.conftest import Urls
from tests.support.instance import SECRETS, Instance, instance
from tests.support.members import (
    PASSWORD,
    SignedInMember,
    client_of,
    email_token,
    member,
    register,
)
from tests.support.page_client import hidden_fields, page_client, sign_in


@pytest.fixture
async def http(api: Instance):
    async with client_of(api) as client:
        yield client


@pytest.fixture
async def boss(http: httpx.AsyncClient) -> SignedInMember:
    return await register(http)


async def test_sign_in_keeps_a_sealed_strict_cookie(api: Instance, boss: SignedInMember) -> None:
    async with page_client(api) as browser:
        refused = await browser.post("/sign-in", data={"email": boss.email, "password": "no"})
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
        assert "no" not in hidden_fields(refused.text).values()
        answer = await browser.post("/sign-in", data={"email": boss.email, "password": PASSWORD})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("florin=")
        assert "; HttpOnly" in cookie
        assert "; SameSite=Strict" in cookie
        assert "; Path=/" in cookie
        assert "Domain" not in cookie
        assert "eyJ" not in cookie  # no readable token
        assert (await browser.get("/account")).status_code == 200


async def test_behind_https_the_cookie_is_bound_to_the_host(
    urls: Urls, boss: SignedInMember
) -> None:
    with instance(urls.app, FLORIN_PUBLIC_URL="https://cards.example") as secure:
        async with page_client(secure) as browser:
            sent = {"email": boss.email, "password": PASSWORD}
            answer = await browser.post("/sign-in", data=sent)
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-florin=")
            assert "; Secure" in cookie


@pytest.mark.parametrize("next_", ["https://evil.example/", "//evil.example", "/\\evil.example"])
async def test_sign_in_leads_on_within_this_origin_only(
    api: Instance, boss: SignedInMember, next_: str
) -> None:
    async with page_client(api) as browser:
        page = await browser.get("/sign-in", params={"next": next_})
        assert "evil" not in page.text
        sent = {"email": boss.email, "password": PASSWORD, "next": next_}
        answer = await browser.post("/sign-in", data=sent)
        assert answer.headers["location"] == "/console"


async def test_who_is_not_signed_in_comes_back_after_it(
    api: Instance, boss: SignedInMember
) -> None:
    async with page_client(api) as browser:
        answer = await browser.get("/console/cards?q=Anna")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/sign-in?next=/console/cards%3Fq%3DAnna"
        page = await browser.get(answer.headers["location"])
        sent = {"email": boss.email, "password": PASSWORD, **hidden_fields(page.text)}
        back = await browser.post("/sign-in", data=sent)
        assert back.headers["location"] == "/console/cards?q=Anna"
        # A link of another site: the browser holds the strict cookie back, so the page asks again.
        browser.cookies.clear()
        crossed = await browser.get("/console", headers={"sec-fetch-site": "cross-site"})
        assert crossed.status_code == 200
        assert 'content="0;url=/console"' in crossed.text


async def test_tabs_that_refresh_together_on_two_instances_stay_signed_in(
    api: Instance, urls: Urls, owner: Any, boss: SignedInMember
) -> None:
    """Both instances make the next pair from the same old one, at once."""
    with instance(urls.app) as second:
        async with page_client(api) as one, page_client(second) as two:
            await sign_in(one, boss.email)
            stale = _with_expired_access(one.cookies["florin"])
            for tab in (one, two):
                tab.cookies.clear()
            answers = await asyncio.gather(
                *(
                    tab.get("/account", headers={"cookie": f"florin={stale}"})
                    for tab in (one, two, one, two)
                )
            )
            assert [each.status_code for each in answers] == [200] * 4
            renewed = [each.headers["set-cookie"].partition(";")[0] for each in answers]
            for cookie in renewed:
                answer = await two.get("/account", headers={"cookie": cookie})
                assert answer.status_code == 200
            assert await owner.fetchval("select count(*) from florin.session where reused") == 0


async def test_a_forged_cookie_is_no_cookie(api: Instance, boss: SignedInMember) -> None:
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        whole = browser.cookies["florin"]
        browser.cookies.clear()
        for bad in (whole[:-4], whole[4:], "x", "", "a" * 9000, boss.tokens["refresh_token"]):
            answer = await browser.get("/account", headers={"cookie": f"florin={bad}"})
            assert answer.status_code == 303, bad[:20]


async def test_sign_out_ends_the_session_and_the_cookie(
    api: Instance, boss: SignedInMember
) -> None:
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        kept = browser.cookies["florin"]
        answer = await browser.post("/sign-out")
        assert answer.headers["location"].startswith("/sign-in")
        assert "Max-Age=0" in answer.headers["set-cookie"]
        again = await browser.get("/account", headers={"cookie": f"florin={kept}"})
        assert again.status_code == 303


async def test_sessions_are_listed_and_ended_one_by_one_and_all(
    api: Instance, boss: SignedInMember
) -> None:
    async with page_client(api) as one, page_client(api) as two:
        await sign_in(one, boss.email)
        await sign_in(two, boss.email)
        page = await one.get("/account")
        others = re.findall(r'action="(/account/sessions/ses_\w+/end)"', page.text)
        assert len(others) == 2  # of the other browser, and of the registration
        for each in others:
            assert (await one.post(each)).status_code == 303
        await asyncio.sleep(0)
        assert (await two.get("/account")).status_code == 303
        await sign_in(two, boss.email)
        assert (await one.post("/account/sign-out-everywhere")).status_code == 303
        for browser in (one, two):
            assert (await browser.get("/account")).status_code == 303


async def test_second_factor_from_set_up_to_sign_in(api: Instance, boss: SignedInMember) -> None:
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        begun = await browser.post(
            "/account/second-factor", data={"act": "begin", "password": PASSWORD}
        )
        secret = hidden_fields(begun.text)["secret"]
        assert '<svg class="qr"' in begun.text
        wrong = await browser.post(
            "/account/second-factor",
            data={"act": "confirm", "code": "000000", **hidden_fields(begun.text)},
        )
        assert wrong.status_code == 401
        assert hidden_fields(wrong.text)["secret"] == secret
        totp = TOTP(base64.b32decode(secret), 6, SHA1(), 30)  # noqa: S303 -- RFC 6238's
        code = totp.generate(int(time.time())).decode()
        on = await browser.post("/account/second-factor", data={"act": "confirm", "code": code})
        assert on.status_code == 200
        recovery = re.findall(r"<li>([^<]+)</li>", on.text)
        assert len(recovery) >= 8
        browser.cookies.clear()
        assert await sign_in(browser, boss.email) == "/sign-in/second"
        assert (await browser.get("/account")).status_code == 303
        refused = await browser.post("/sign-in/second", data={"code": "123456"})
        assert refused.status_code == 401
        done = await browser.post("/sign-in/second", data={"code": recovery[0]})
        assert done.headers["location"] == "/console"
        assert (await browser.get("/account")).status_code == 200


async def test_reset_invitation_and_verification(
    api: Instance, http: httpx.AsyncClient, owner: Any, boss: SignedInMember
) -> None:
    async with page_client(api) as browser:
        known = await browser.post("/reset", data={"email": boss.email})
        unknown = await browser.post("/reset", data={"email": "no.one@shop.example"})
        assert _without(known, boss.email) == _without(unknown, "no.one@shop.example")
        token = await email_token(owner, boss.email, "password_reset")
        page = await browser.get("/reset", params={"token": token})
        form = hidden_fields(page.text)
        weak = await browser.post("/reset", data={**form, "password": "password"})
        assert weak.status_code == 422
        renewed = await browser.post("/reset", data={**form, "password": "another long phrase"})
        assert renewed.headers["location"] == "/sign-in?done=password-set"
        assert await sign_in(browser, boss.email, "another long phrase") == "/console"
        tokens = (
            await http.post(
                "/auth/login", json={"email": boss.email, "password": "another long phrase"}
            )
        ).json()
        invited = await http.post(
            "/members",
            json={"email": "till@shop.example", "role": "cashier"},
            headers={"authorization": f"Bearer {tokens['access_token']}"},
        )
        assert invited.status_code == 201, invited.text
        token = await email_token(owner, "till@shop.example", "invitation")
        assert (await browser.get(f"/invite/{token}")).status_code == 200
        joined = await browser.post(f"/invite/{token}", data={"password": PASSWORD})
        assert joined.headers["location"] == "/sign-in?done=joined"
        browser.cookies.clear()
        assert await sign_in(browser, "till@shop.example") == "/till"
        again = await browser.post(f"/invite/{token}", data={"password": PASSWORD})
        assert again.status_code == 422


async def test_sign_up_makes_a_merchant_and_signs_in(api: Instance) -> None:
    async with page_client(api) as browser:
        fields = {
            "name": "Quay & <b>Sons</b>",
            "country": "ie",
            "currency": "eur",
            "timezone": "Europe/Dublin",
            "email": "quay@shop.example",
            "password": PASSWORD,
        }
        bad = await browser.post("/sign-up", data={**fields, "country": "zz"})
        assert bad.status_code == 422
        assert 'href="#country"' in bad.text
        made = await browser.post("/sign-up", data=fields)
        assert made.headers["location"] == "/console"
        page = await browser.get("/console")
        assert "Quay &amp; &lt;b&gt;Sons&lt;/b&gt;" in page.text
        assert "<b>Sons" not in page.text


async def test_a_role_sees_and_does_only_its_own(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    cashier = await member(http, boss, "cashier")
    async with page_client(api) as browser:
        assert await sign_in(browser, cashier.email) == "/till"
        assert (await browser.get("/console/cards/new")).status_code == 403
        forced = await browser.post("/console/cards/new", data={"program": "x", "amount": "5"})
        assert forced.status_code == 403
        till = await browser.get("/till")
        assert "/console/cards/new" not in till.text


def _with_expired_access(cookie: str) -> str:
    """The same cookie with an access token that no instance accepts any more."""
    sealer = Sealer(SECRETS["FLORIN_SEAL_KEY"])
    opened = sealer.unseal(base64.urlsafe_b64decode(cookie), bound_to=b"florin sign-in cookie")
    broken = re.sub(r'"access":"[^"]+"', '"access":"gone"', opened)
    assert broken != opened
    sealed = sealer.seal(broken, bound_to=b"florin sign-in cookie")
    return base64.urlsafe_b64encode(sealed).decode()


def _without(answer: httpx.Response, email: str) -> str:
    """A page without what differs between any two requests."""
    return answer.text.replace(email, "").replace(answer.headers["x-request-id"], "")
