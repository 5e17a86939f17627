"""Sign-up: where it is closed, the operator adds merchants; where addresses must be verified, an
unverified owner may not use shared resources.
"""

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.support.api_calls import problem
from tests.support.instance import SECRETS, Instance, instance
from tests.support.members import (
    PASSWORD,
    SignedInMember,
    address,
    audited,
    bearer,
    client_of,
    email_token,
    login,
    register,
)

Json = dict[str, Any]
KEY = {"name": "till", "scopes": ["cards:read", "events:read"]}


@pytest.fixture(scope="module")
def strict(urls: Urls) -> Iterator[Instance]:
    """An instance as in production: sign-up is closed and addresses must be verified."""
    url = f"{urls.app}?connection_limit=10&pool_timeout=20"
    with instance(url, FLORIN_SIGNUP="closed", FLORIN_VERIFY_EMAIL="required") as running:
        yield running


@pytest.fixture
async def closed(strict: Instance) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(strict) as client:
        yield client


def merchant(urls: Urls, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "DATABASE_URL": f"{urls.app}?connection_limit=2&pool_timeout=5",
        "FLORIN_ENV": "test",
        "FLORIN_HOME": str(home),
        **SECRETS,
    }
    command = [sys.executable, "-P", "-m", "florin", "merchant", *words]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=120, check=False
    )


def owned(email: str, *more: str, country: str = "NL") -> list[str]:
    words = ["add", "Corner Shop", "--email", email, "--country", country, "--currency", "EUR"]
    return [*words, *more]


async def test_registration_is_refused_while_sign_up_is_closed(closed: httpx.AsyncClient) -> None:
    body = {
        "email": address(),
        "password": PASSWORD,
        "merchant": {"name": "Shop", "country": "NL", "currency": "EUR"},
    }
    problem(await closed.post("/auth/register", json=body), 403, "signup_closed")


async def test_the_owner_of_an_added_merchant_accepts_the_invitation(
    closed: httpx.AsyncClient, urls: Urls, tmp_path: Path
) -> None:
    email = address("Owner").upper()
    done = merchant(urls, tmp_path, *owned(email, "--timezone", "Europe/Paris", "--test", "--json"))
    assert done.returncode == 0, done.stderr
    made: Json = json.loads(done.stdout)
    assert made["merchant"]["object"] == "merchant"
    facts = {key: made["merchant"][key] for key in ("name", "country", "timezone", "test")}
    assert facts == {
        "name": "Corner Shop",
        "country": "NL",
        "timezone": "Europe/Paris",
        "test": True,
    }
    assert (made["user"]["email"], made["user"]["state"]) == (email.lower(), "invited")
    body = {"token": made["invitation"]["token"], "password": PASSWORD}
    assert made["invitation"]["accept"].endswith("/api/v1/auth/invitations/accept")
    accepted = await closed.post("/auth/invitations/accept", json=body)
    assert accepted.status_code == 200, accepted.text
    owner = SignedInMember(email.lower(), (await login(closed, email)).json())
    me = (await closed.get("/auth/me", headers=owner.headers)).json()
    assert me["merchant"]["id"] == made["merchant"]["id"]
    assert (me["user"]["role"], me["user"]["email_verified"]) == ("owner", True)
    # The invitation was sent by e-mail, which verified the address.
    assert (await closed.post("/api-keys", json=KEY, headers=owner.headers)).status_code == 201
    added = (await audited(closed, owner, action="merchant.added"))[0]
    assert (added["actor"], added["subject"]) == ("florin", made["merchant"]["id"])


def test_the_command_says_what_the_owner_does(urls: Urls, tmp_path: Path) -> None:
    email = address("owner")
    done = merchant(urls, tmp_path, *owned(email))
    assert done.returncode == 0, done.stderr
    assert f"Invitation of the owner {email}, valid until 20" in done.stdout
    assert "\n  flt_" in done.stdout
    again = merchant(urls, tmp_path, *owned(email))
    assert again.returncode != 0
    assert f"--email: {email} already belongs to a member." in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (owned("owner@shop.nl\n"), "--email: 'owner@shop.nl\\n' is not an e-mail address"),
        (owned("owner@shop.nl", country="XX"), '--country: "XX" is not a country'),
        (owned("owner@shop.nl", "--timezone", "localtime"), "--timezone: localtime is not"),
        (["add", "Corner Shop"], "--email"),
    ],
)
def test_a_mistake_is_one_sentence(urls: Urls, tmp_path: Path, words: list[str], said: str) -> None:
    done = merchant(urls, tmp_path, *words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def heavy(http: httpx.AsyncClient, owner: SignedInMember) -> list[httpx.Response]:
    """Requests that need a verified address."""
    idempotent = {**owner.headers, "idempotency-key": address()}
    bulk = {"program": "prg_0", "amount": 1, "quantity": 1}
    csv = {**idempotent, "content-type": "text/csv"}
    return [
        await http.post("/cards/bulk", json=bulk, headers=idempotent),
        await http.post("/cards/import?count=1&amount=1", content=b"x", headers=csv),
        await http.post("/api-keys", json=KEY, headers=owner.headers),
        await http.get("/events/stream", headers=owner.headers),
    ]


async def test_an_unverified_address_may_not_use_shared_resources(
    http: httpx.AsyncClient, closed: httpx.AsyncClient, owner: Any
) -> None:
    boss = await register(http)
    token = await email_token(owner, boss.email, "email_verification")
    allowed = await closed.get("/programs", headers=boss.headers)
    assert allowed.status_code == 200, allowed.text
    for answer in await heavy(closed, boss):  # the instance knows her as unverified now
        problem(answer, 403, "email_not_verified")
    done = await closed.post("/auth/email-verifications/confirm", json={"token": token})
    assert done.status_code == 200, done.text
    # At once, here. The first is no request that always reads the caller from the database.
    bulk = (await heavy_bulk(closed, boss)).json()["code"]
    assert bulk != "email_not_verified"
    key = await closed.post("/api-keys", json=KEY, headers=boss.headers)
    assert key.status_code == 201, key.text
    scoped = bearer(key.json()["secret"])  # keys need no verified address
    assert (await closed.get("/events", headers=scoped)).status_code == 200


async def heavy_bulk(http: httpx.AsyncClient, owner: SignedInMember) -> httpx.Response:
    body = {"program": "prg_0", "amount": 1, "quantity": 1}
    headers = {**owner.headers, "idempotency-key": address()}
    return await http.post("/cards/bulk", json=body, headers=headers)


async def test_without_required_verification_nothing_is_refused(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    assert (await http.post("/api-keys", json=KEY, headers=boss.headers)).status_code == 201
    assert (await heavy_bulk(http, boss)).json()["code"] != "email_not_verified"
