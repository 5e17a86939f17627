"""Operations: each one of the OpenAPI document is called once through the SDK."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin_client import AsyncFlorin
from florin_client.operations import Operations
from tests.conftest import Urls
from tests.sdk.calls import CALLS, RecordingFlorin, World
from tests.support.connections import connected
from tests.support.instance import NO_TLS, Instance, Shop
from tests.support.members import email_token
from tests.support.workers import Crew

Json = dict[str, Any]


@pytest.fixture
async def document(api: Instance) -> Json:
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        found: Json = (await http.get(f"{api.base}/api/v1/openapi.json")).json()
    return found


@pytest.fixture
async def world(api: Instance, urls: Urls, workers: Crew, tmp_path: Path) -> AsyncGenerator[World]:
    workers.start()
    loop = asyncio.get_running_loop()

    def waited(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    async def token(email: str, kind: str) -> str:
        async with connected(urls.owner) as owner:
            found = await email_token(owner, email, kind)
        assert found is not None, (email, kind)
        return found

    florin = RecordingFlorin(api.base)
    yield World(
        florin,
        tmp_path,
        lambda email, kind: waited(token(email, kind)),
    )
    florin.close()


@pytest.mark.slow
async def test_each_operation_is_called_once_through_the_sdk(world: World, document: Json) -> None:
    documented = {
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    }
    assert set(CALLS) == documented, "tests/sdk/calls.py needs a line for each operation"
    wrong: list[str] = []
    for name, call in CALLS.items():
        try:
            # In a thread: the client blocks, and the test's loop serves its tokens meanwhile.
            await asyncio.to_thread(call, world)
            assert name in world.florin.sent
        except Exception as failure:  # noqa: BLE001 -- all of them are shown together
            wrong.append(f"{name}: {failure!r}")
    assert not wrong, "\n".join(wrong)
    assert set(world.florin.sent) == documented


async def test_the_operations_of_the_sdk_are_those_of_the_document(document: Json) -> None:
    """The route, the idempotency key and the fields of the answer, from the document."""
    schemas: Json = document["components"]["schemas"]
    count = 0
    for path, found in document["paths"].items():
        for method, described in found.items():
            name = described["operationId"]
            if name == "follow_events":
                continue
            made: Any = getattr(Operations, name)
            parts = [f"/{'{}' if part.startswith('{') else part}" for part in path.split("/")[3:]]
            assert (made.method, made.path) == (method.upper(), "".join(parts)), name
            keyed = any(each.get("name") == "Idempotency-Key" for each in described["parameters"])
            assert made.keyed == keyed, name
            fields = answer_fields(described, schemas)
            if fields is not None and hasattr(made.kind, "__struct_encode_fields__"):
                known = set(made.kind.__struct_encode_fields__)
                assert known <= fields, (name, known - fields)
                count += 1
    assert count > 80


def answer_fields(described: Json, schemas: Json) -> set[str] | None:
    """The fields of an operation's answer; None for a file or a list."""
    for status, answer in described["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if status < "300" and name and not name.endswith("List"):
            return set(schemas[name]["properties"])
    return None


async def test_the_asynchronous_client_has_the_same_operations(
    api: Instance, shop: Shop, tmp_path: Path
) -> None:
    async with AsyncFlorin(
        api.base, shop.secret, http=httpx.AsyncClient(verify=NO_TLS, timeout=60)
    ) as florin:
        stream = await florin.follow_events()
        made = await asyncio.gather(*(florin.issue_card(shop.program, 1000) for _ in range(3)))
        listed = [card.id async for card in florin.list_cards.all(limit=1)]
        assert sorted(listed) == sorted(card.id for card in made)
        assert (await florin.list_cards(limit=2)).has_more
        async with stream:
            seen = {(await anext(stream)).data["object"]["id"] for _ in made}
        assert seen == {card.id for card in made}
        path = await florin.export_cards.save(tmp_path / "cards.csv")
        assert len(path.read_text("utf-8").splitlines()) == 1 + len(made)
        path.write_text("amount\n2500\n", "utf-8")
        job = await florin.import_cards(path, program=shop.program, dry_run=True)
        assert job.file is not None
        assert job.file["count"] == 1
