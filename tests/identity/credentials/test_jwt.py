"""Forged tokens over HTTP: all are refused with the same response."""

import httpx
import pytest

from florin.identity.credentials.jwt import JwtTokens
from florin.kit import ids
from florin.kit.settings import read_settings
from tests.identity.forged_tokens import Good, forgeries
from tests.support.api_calls import problem
from tests.support.instance import SECRETS
from tests.support.members import SignedInMember, register, uuid_of


def forged(victim: SignedInMember, other: SignedInMember) -> dict[str, str]:
    settings = read_settings(
        {"DATABASE_URL": "postgresql://x@y/z", "FLORIN_ENV": "test", **SECRETS}
    )
    good = Good(victim.tokens["access_token"])
    challenge = JwtTokens(settings).challenge(
        uuid_of("mer", good.claims["mer"]), uuid_of("usr", good.claims["sub"]), "0" * 32
    )
    return forgeries(
        good.token,
        victim.tokens["refresh_token"],
        challenge,
        Good(other.tokens["access_token"]).claims,
    )


async def ask(http: httpx.AsyncClient, token: str) -> httpx.Response:
    value = b"Bearer " + token.encode("utf-8", "surrogatepass")
    return await http.get("/auth/me", headers={b"authorization": value})


async def test_forged_access_tokens_are_refused(http: httpx.AsyncClient) -> None:
    victim, other = await register(http), await register(http)
    tokens = forged(victim, other)
    assert len(set(tokens.values())) >= 120
    assert victim.tokens["access_token"] not in tokens.values()
    details: set[str] = set()
    for name, token in tokens.items():
        answer = await ask(http, token)
        if len(token) > 16_000:
            assert answer.status_code in {401, 413, 431}, name
            continue
        assert answer.status_code == 401, (name, answer.text)
        details.add(problem(answer, 401, "unauthenticated")["detail"])
    assert len(details) == 1
    assert (await ask(http, victim.tokens["access_token"])).status_code == 200


async def test_the_forger_can_sign_a_valid_token(http: httpx.AsyncClient) -> None:
    """Otherwise the forged tokens could be refused for another mistake in them."""
    victim = await register(http)
    good = Good(victim.tokens["access_token"])
    assert good.with_claims() == good.token
    assert good.with_header() == good.token
    made = good.with_claims(jti=ids.new_id().hex)
    assert made != good.token
    assert (await ask(http, made)).status_code == 200


async def test_forged_refresh_tokens_are_refused(http: httpx.AsyncClient) -> None:
    """Not an access token, not a forged token, not a modified refresh token."""
    victim, other = await register(http), await register(http)
    refresh = victim.tokens["refresh_token"]
    tokens = [
        token
        for name, token in forged(victim, other).items()
        if name != "refresh as access" and len(token) < 900
    ]
    tokens += [victim.tokens["access_token"], "", "x", refresh + "A", refresh[:-1], f"{refresh} "]
    header, payload, signature = refresh.split(".")
    tokens += [f"{header}.{payload}.{signature[::-1]}", refresh.replace(".", "..", 1)]
    for token in tokens:
        answer = await http.post("/auth/refresh", json={"refresh_token": token})
        assert answer.status_code in {401, 422}, (token, answer.text)
        assert answer.json()["code"] in {"unauthenticated", "invalid_request"}
    answer = await http.post("/auth/refresh", json={"refresh_token": refresh})
    assert answer.status_code == 200  # none of these ended the session


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Basic YTpi",
        "Token x",
        "Bearer flk_",
        "Bearer flk_" + "a" * 46,
        "Bearer null",
        "Bearer undefined",
        "Bearer Bearer x",
        "Bearer " + "x" * 4090,
        "Bearer " + "." * 500,
    ],
)
async def test_other_authorization_headers_are_refused(http: httpx.AsyncClient, value: str) -> None:
    answer = await http.get("/auth/me", headers={"authorization": value})
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
