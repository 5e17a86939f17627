"""Signed positions: an invented position is not stored, however often a client sends it."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.kit.replicas.routing import ReplicaRouter
from florin.kit.replicas.signed_positions import PositionSigner
from tests.conftest import Urls
from tests.support.api_calls import issue, problem
from tests.support.instance import SECRETS, Shop

OLD, NEW = "a secret of before, which is long", "a secret of today, which is as long"


def test_only_signed_positions_are_trusted() -> None:
    signer = PositionSigner([NEW, OLD])
    token = signer.token("1.5d3a2f8").decode()
    assert signer.read(token) == ("1.5d3a2f8", True)
    position, _, signature = token.rpartition(".")
    others = (
        position,
        f"{position}.{'0' * 16}",
        f"2.5d3a2f8.{signature}",
        f"1.5d3a2f9.{signature}",
        PositionSigner(["another installation's secret"]).token("1.5d3a2f8").decode(),
    )
    for other in others:
        assert signer.read(other)[1] is False, other


def test_the_previous_secret_is_accepted_during_rotation() -> None:
    before = PositionSigner([OLD]).token("1.5d3a2f8").decode()
    assert PositionSigner([NEW, OLD]).read(before) == ("1.5d3a2f8", True)
    assert PositionSigner([NEW]).read(before) == ("1.5d3a2f8", False)


def test_answers_of_one_commit_share_a_token() -> None:
    signer = PositionSigner([NEW])
    first = signer.token("1.a")
    assert signer.token("1.a") is first
    assert signer.token("1.b") != first
    assert signer.token("1.a") == first


@pytest.mark.parametrize(
    "token", ["", ".", "..", "1", "1.", ".1", "1.a.b", "1.a.", "g.1", f"1.a.{'0' * 17}", "1.a.b.c"]
)
def test_an_invalid_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="position"):
        PositionSigner([NEW]).read(token)


@pytest.fixture
async def router(urls: Urls) -> AsyncGenerator[ReplicaRouter]:
    database = Database(urls.app)
    await database.open()
    made = ReplicaRouter(database, [], None)
    watching = asyncio.ensure_future(made.primary.watch())
    try:
        yield made
    finally:
        watching.cancel()
        made.primary.end()
        await database.close()


async def test_an_invented_position_is_not_stored(router: ReplicaRouter) -> None:
    signer = PositionSigner([NEW])
    promised = router.primary._promised  # pyright: ignore[reportPrivateUsage]
    for timeline in range(1, 2_001):
        given, ours = signer.read(f"{timeline:x}.ffffffffffffffff.{timeline:016x}")
        router.reader("other", given=given, ours=ours)
    assert promised == {}
    given, ours = signer.read(signer.token("1.1").decode())
    router.reader("other", given=given, ours=ours)
    assert list(promised) == [("a caller", 1)]


async def test_an_invented_token_has_no_effect(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    answer = await http.post(f"/cards/{card['id']}/block")
    assert answer.status_code == 200, answer.text
    token = answer.headers["florin-consistency"]
    assert PositionSigner([SECRETS["FLORIN_KEY_PEPPER"]]).read(token)[1] is True
    for given in (token, token.rpartition(".")[0], "7fffffff.ffffffffffffffff.0123456789abcdef"):
        found = await http.get("/cards", headers={"Florin-Consistency": given})
        assert found.status_code == 200, found.text
        assert found.json()["data"][0]["id"] == card["id"]
    bad = await http.get("/cards", headers={"Florin-Consistency": f"{token}0"})
    problem(bad, 422, "invalid_request", param="Florin-Consistency")
