"""Refusals: each names the invalid field by its path in the request, and the log position of the
ledger.
"""

import asyncio
import warnings
from importlib import import_module
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import position_lsn
from tests.support.api_calls import Json, issue, key, made, post, problem, read, redeem, spend
from tests.support.instance import Instance, Shop
from tests.support.members import client_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, while it is imported
    NEEDS: dict[str, str] = import_module("florin.routes").NEEDS
NIL = "0" * 32
NUL = "a\0b"
EUR = {"amount": 1, "currency": "EUR"}
METADATA = [
    ({"order": "x" * 501}, "metadata[order]"),
    ({"a": "1", "order": 5}, "metadata[order]"),
    ({"o" * 41: "1"}, f"metadata[{'o' * 41}]"),
    ({"": "1"}, "metadata[]"),
    ({"order": NUL}, "metadata[order]"),
    ({"or\0der": "1"}, "metadata"),
    ({str(n): "1" for n in range(51)}, "metadata"),
    (["order"], "metadata"),
]


@pytest.mark.parametrize(("metadata", "param"), METADATA)
async def test_a_pair_of_metadata(
    http: httpx.AsyncClient, shop: Shop, metadata: Any, param: str
) -> None:
    card = await issue(http, shop)
    for path, body in (
        ("/cards", {"program": shop.program, "amount": 5}),
        ("/redemptions", spend(card, 1)),
        ("/holds", spend(card, 1)),
        ("/loads", {"card": card["id"], "amount": 1}),
    ):
        refused = await post(http, path, body | {"metadata": metadata})
        assert "..." not in problem(refused, 422, "invalid_request", param=param)["detail"]


async def test_several_pairs_are_all_named(http: httpx.AsyncClient, shop: Shop) -> None:
    metadata = {"a": 1, "b": "fine", "c": "x" * 501}
    body = {"program": shop.program, "amount": 0, "metadata": metadata}
    refused = problem(await post(http, "/cards", body), 422, "invalid_request")
    assert [each["param"] for each in refused["errors"]] == [
        "amount",
        "metadata[a]",
        "metadata[c]",
    ]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/redemptions", {"card": NUL, **EUR}, "card"),
        ("/redemptions", {"code": "x", **EUR, "reference": NUL}, "reference"),
        ("/holds", {"code": NUL, **EUR}, "code"),
        ("/cards/lookup", {"code": NUL}, "code"),
        ("/cards", {"program": "p", "amount": 1, "recipient": {"name": NUL}}, "recipient.name"),
        ("/cards", {"program": "p", "amount": 1, "na\0me": "x"}, "na\0me"),
        ("/programs", {"name": NUL, "currency": "EUR"}, "name"),
        ("/api-keys", {"name": "x", "scopes": ["cards:read", NUL]}, "scopes[1]"),
    ],
)  # fmt: skip
async def test_text_with_a_nul_is_refused(
    http: httpx.AsyncClient, path: str, body: Json, param: str
) -> None:
    problem(await post(http, path, body), 422, "invalid_request", param=param)


async def test_an_item_of_a_batch_with_a_nul_is_refused(http: httpx.AsyncClient) -> None:
    answer = await post(http, "/redemptions/batch", {"redemptions": [{}, {"reference": NUL}]})
    _, line = answer.json()["data"]
    assert (line["status"], line["problem"]["param"]) == (422, "reference")


async def test_a_refusal_of_the_ledger_names_its_field(http: httpx.AsyncClient) -> None:
    rules = {"name": "P", "min_amount": 10, "max_amount": 20}
    euros = await made(http, "/programs", rules | {"currency": "EUR"})
    yen = await made(http, "/programs", rules | {"currency": "JPY"})
    for path, more in (("/cards", {}), ("/cards/bulk", {"quantity": 1})):
        answer = await post(http, path, {"program": euros["id"], "amount": 9, **more})
        problem(answer, 422, "amount_not_allowed", param="amount")
        answer = await post(http, path, {"program": f"prg_{'0' * 32}", "amount": 9, **more})
        problem(answer, 404, "not_found", param="program")
    one, other = [
        await made(http, "/cards", {"program": each["id"], "amount": 10}) for each in (euros, yen)
    ]
    for path in ("/redemptions", "/holds"):
        for card in ({"card": one["id"]}, {"code": one["code"]}):
            answer = await post(http, path, {**card, "amount": 1, "currency": "JPY"})
            problem(answer, 422, "currency_mismatch", param="currency")
    answer = await post(http, "/transfers", {"from": one["id"], "to": other["id"], "amount": 1})
    problem(answer, 422, "currency_mismatch", param="to")


async def test_an_invalid_key_of_an_item_names_the_field_of_the_item(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop)
    items = [
        spend(card, 1),
        spend(card, 1, idempotency_key=""),
        spend(card, 1, idempotency_key="k" * 256),
        spend(card, 1, idempotency_key="\u00e9"),
        spend(card, 1, idempotency_key=5),
    ]
    answer = await http.post("/redemptions/batch", json={"redemptions": items})
    problems = [line["problem"] for line in answer.json()["data"]]
    assert [each["code"] for each in problems] == ["idempotency_key_required"] * 2 + [
        "invalid_request"
    ] * 3
    assert {each["param"] for each in problems} == {"idempotency_key"}
    alone = await http.post("/redemptions", json=spend(card, 1))
    problem(alone, 400, "idempotency_key_required", param="Idempotency-Key")


def position_of(answer: httpx.Response) -> int:
    return position_lsn(answer.headers["florin-consistency"].rpartition(".")[0])


async def test_every_refused_write_has_a_consistency_token(
    http: httpx.AsyncClient, api: Instance
) -> None:
    """Only with valid credentials: without them, an answer must not reveal what was written."""
    tried = 0
    headers = key() | {"last-event-id": "evt_unknown"}  # a stream would not end
    async with client_of(api) as anonymous:
        for name, need in NEEDS.items():
            method, _, path = name.partition(" ")
            address = "/".join(f"x_{NIL}" if part[:1] == "{" else part for part in path.split("/"))
            for content in (b'{"there": "is no such field"}', b"{"):
                answer = await http.request(method, address, headers=headers, content=content)
                assert answer.status_code < 500, name
                writes = method != "GET" and need != "public" and not need.endswith(":read")
                assert ("florin-consistency" in answer.headers) is writes, (name, answer.text)
                tried += writes
                answer = await anonymous.request(method, address, headers=headers, content=content)
                assert "florin-consistency" not in answer.headers, name
    assert tried > 60


async def test_a_refusal_of_the_ledger_has_a_consistency_token(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop, 100)
    closed = await issue(http, shop, 5)
    await redeem(http, closed, 5)
    await post(http, f"/cards/{closed['id']}/close")
    await post(http, "/redemptions", spend(card, 1), under="spent")
    before = position_of(await post(http, "/loads", {"card": card["id"], "amount": 1}))
    refusals: list[tuple[str, Any, dict[str, str], int]] = [
        ("/redemptions", spend(card, 900), key(), 402),
        ("/redemptions", spend(closed, 1), key(), 402),
        ("/redemptions", spend(card, 2), key("spent"), 422),
        ("/redemptions", spend(card, 1), {}, 400),
        ("/redemptions", {"card": f"crd_{NIL}", "amount": 1, "currency": "EUR"}, key(), 404),
        ("/refunds", {"redemption": f"red_{NIL}"}, key(), 404),
        (f"/holds/hld_{NIL}/void", None, key(), 404),
        ("/cards", {"program": f"prg_{NIL}", "amount": 1}, key(), 404),
        (f"/cards/{closed['id']}/rotate-code", None, key(), 402),
        (f"/cards/{card['id']}/close", None, key(), 402),
    ]
    for path, body, headers, status in refusals:
        answer = await http.post(path, json=body, headers=headers)
        assert answer.status_code == status, (path, answer.text)
        # A client that keeps the newest token it received always reads its own write.
        assert position_of(answer) >= before, path
        token = {"florin-consistency": answer.headers["florin-consistency"]}
        assert (await http.get("/cards", headers=token)).status_code == 200


async def test_concurrent_refusals_have_positions_after_the_callers_write(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """Refusals share queries of the position; each is newer than the caller's own write."""
    card = await issue(http, shop, 1000)

    async def one() -> None:
        for _ in range(5):
            written = position_of(await post(http, "/redemptions", spend(card, 1)))
            refused = await post(http, "/redemptions", {"card": card["id"]})
            assert refused.status_code == 422
            assert position_of(refused) >= written

    await asyncio.gather(*(one() for _ in range(10)))
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 950
