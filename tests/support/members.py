"""Members for tests: register, sign in, add members and read e-mail tokens."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from florin.identity.credentials.email_tokens import EmailTokens
from florin.identity.services import IdentityServices
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from florin.kit.rate_limits.limiter import RateLimiter
from florin.kit.settings import read_settings
from tests.support import openapi_check
from tests.support.connections import connected
from tests.support.instance import NO_TLS, SECRETS, Instance

Json = dict[str, Any]
PASSWORD = "correct horse battery"


@dataclass(slots=True)
class SignedInMember:
    """A member who is signed in."""

    email: str
    tokens: Json
    password: str = PASSWORD

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.tokens["access_token"])

    @property
    def id(self) -> str:
        found: str = self.tokens["user"]["id"]
        return found


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def address(name: str = "member") -> str:
    return f"{name}.{uuid.uuid4().hex[:12]}@shop.example"


def services(database: Database) -> IdentityServices:
    """The identity services of an instance, in the process of the test."""
    settings = read_settings(
        {"DATABASE_URL": "postgresql:///tests", "FLORIN_ENV": "test", **SECRETS}
    )
    sealer = Sealer(*settings.key_ring("seal_key"))
    return IdentityServices.of(settings, database, sealer, RateLimiter(None))


@asynccontextmanager
async def client_of(api: Instance, **headers: str) -> AsyncGenerator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
    async with httpx.AsyncClient(
        base_url=f"{api.base}/api/v1",
        headers=headers,
        limits=limits,
        timeout=60,
        verify=NO_TLS,
        event_hooks={"response": [openapi_check.hook(api.base)]},
    ) as client:
        yield client


async def register(http: httpx.AsyncClient) -> SignedInMember:
    """Register a merchant; return its owner, signed in."""
    email = address("owner")
    answer = await http.post(
        "/auth/register",
        json={
            "email": email,
            "password": PASSWORD,
            "merchant": {"name": "Shop", "country": "NL", "currency": "EUR"},
        },
    )
    assert answer.status_code == 201, answer.text
    return SignedInMember(email, answer.json())


async def login(
    http: httpx.AsyncClient, email: str, password: str = PASSWORD, **headers: str
) -> httpx.Response:
    return await http.post(
        "/auth/login", json={"email": email, "password": password}, headers=headers
    )


async def member(http: httpx.AsyncClient, by: SignedInMember, role: str) -> SignedInMember:
    """Add a member to the merchant of `by`; return the member, signed in."""
    email = address(role)
    made = await http.post(
        "/members", json={"email": email, "password": PASSWORD, "role": role}, headers=by.headers
    )
    assert made.status_code == 201, made.text
    answer = await login(http, email)
    assert answer.status_code == 200, answer.text
    return SignedInMember(email, {**answer.json(), "user": made.json()})


async def email_token(owner: Any, email: str, kind: str) -> str | None:
    """The latest unsent token of this address, decrypted as the mailer does."""
    row = await owner.fetchrow(
        "select l.* from florin.email_token l join florin.member m"
        " on m.merchant = l.merchant and m.id = l.member"
        " where m.email = $1 and l.kind = $2 and l.sealed is not null order by l.id desc limit 1",
        email,
        kind,
    )
    letters = EmailTokens(sealer=Sealer(SECRETS["FLORIN_SEAL_KEY"]), peppers=[b""])
    return letters.token_of(row) if row is not None else None


async def audited(http: httpx.AsyncClient, by: SignedInMember, **query: Any) -> list[Json]:
    answer = await http.get("/audit", params={"limit": 100, **query}, headers=by.headers)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["data"]
    return found


async def lock_waits(superuser_url: str) -> int:
    """How many statements wait for a lock; only the superuser sees those of others."""
    async with connected(superuser_url) as connection:
        found: int = await connection.fetchval(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database()"
        )
    return found


def uuid_of(prefix: str, text: str) -> uuid.UUID:
    found = ids.parse_id(prefix, text)
    assert found is not None
    return found
