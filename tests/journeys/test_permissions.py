"""Permissions: every route of the OpenAPI document is called by every caller who may not.

A route that is new is in the document, so it is in here; one that says not which scope it needs
does not start.
"""

import warnings
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import httpx
import pytest

from florin.identity.scopes import ROLES, SCOPES
from florin.kit import ids
from florin.kit.postgres.database import Database
from tests.orders.selling import OWN_STRIPE
from tests.support.api_calls import key
from tests.support.instance import Instance, Shop, make_shop
from tests.support.members import SignedInMember, client_of, member, register

Json = dict[str, Any]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, while it is imported
    ROUTES: Any = import_module("florin.routes")
    NEEDS: dict[str, str] = ROUTES.NEEDS
_STREAM = {"last-event-id": "evt_nobodys"}  # a stream never ends; this one does not begin
HIDDEN = "01a20e61e846768583118b9d6d8d48f4"  # what examples end in


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str  # below the base
    operation: Json

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def need(self) -> str:
        return NEEDS[self.name]

    def body(self) -> Any:
        content = self.operation.get("requestBody", {}).get("content", {})
        return next((media["example"] for media in content.values()), None)


@dataclass(frozen=True, slots=True)
class World:
    """The objects of a merchant, and callers of another merchant."""

    http: httpx.AsyncClient
    routes: list[Route]
    mine: dict[str, str]  # the prefix of an id to one of ours
    secrets: list[str]  # what no stranger may read
    owner: SignedInMember
    strangers: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
async def world(api: Instance, urls: Any, database: Database) -> AsyncGenerator[World]:
    async with client_of(api) as http:
        document = (await http.get("/openapi.json")).json()
        routes = [
            Route(method.upper(), path.removeprefix("/api/v1"), operation)
            for path, found in document["paths"].items()
            for method, operation in found.items()
        ]
        owner, stranger = await register(http), await register(http)
        mine, secrets = await _things(http, owner)
        mine["whd"] = await _webhook_delivery(database, mine)
        mine["sup"] = await _suppression(database, mine)
        mine |= await _settled(database, owner)
        made = await http.post(
            "/api-keys", json={"name": "k", "scopes": sorted(SCOPES)}, headers=stranger.headers
        )
        whole = made.json()
        strangers = {
            "another owner": stranger.headers,
            "another's key": {"authorization": f"Bearer {whole['secret']}"},
            "another's manager": (await member(http, stranger, "manager")).headers,
        }
        yield World(http, routes, mine, secrets, owner, strangers)
    del urls


async def _things(
    http: httpx.AsyncClient, owner: SignedInMember
) -> tuple[dict[str, str], list[str]]:
    """One object of each kind that has an id."""

    async def make(path: str, body: Json) -> Json:
        answer = await http.post(path, json=body, headers=owner.headers | key())
        assert answer.status_code in {200, 201, 202}, answer.text
        found: Json = answer.json()
        return found

    limits = {"min_amount": 1, "max_amount": 10**9}
    limits["cash_out_limit"] = 10**9
    program = await make("/programs", {"name": "P", "currency": "EUR", **limits})
    card = await make("/cards", {"program": program["id"], "amount": 10000})
    other = await make("/cards", {"program": program["id"], "amount": 10000})
    gift = {"recipient": {"email": "tomas@home.example"}, "deliver": {"channel": "email"}}
    await make("/cards", {"program": program["id"], "amount": 10000, **gift})
    spent = {"card": card["id"], "amount": 100, "currency": "EUR"}
    redemption = await make("/redemptions", spent)
    made = [
        program,
        card,
        redemption,
        await make("/refunds", {"redemption": redemption["id"], "amount": 10}),
        await make("/loads", {"card": card["id"], "amount": 10}),
        await make("/transfers", {"from": card["id"], "to": other["id"], "amount": 10}),
        await make("/adjustments", {"card": card["id"], "amount": -1, "reason": "r"}),
        await make(f"/cards/{other['id']}/cash-outs", {"amount": 1}),
        await make("/holds", spent),
        await make("/api-keys", {"name": "k", "scopes": ["cards:read"]}),
        await make("/webhook-endpoints", {"url": "https://hooks.example.com/", "events": ["*"]}),
        await make("/gateways", OWN_STRIPE),
        await make("/cards/bulk", {"program": program["id"], "amount": 1, "quantity": 1}),
    ]
    order = await made_order(http, owner, program["id"])
    made += [order, {"id": order["payment"]}]
    refund = await make(f"/orders/{order['id']}/refunds", {"amount": 1})
    await make(f"/test-gateway/payments/{order['payment']}/dispute", {})
    disputes = await http.get("/disputes", headers=owner.headers)
    made += [refund, disputes.json()["data"][0]]
    lists = ("/entries", "/events", "/sessions", "/audit", "/members", "/deliveries")
    made += [(await http.get(path, headers=owner.headers)).json()["data"][0] for path in lists]
    mine = {each["id"].partition("_")[0]: each["id"] for each in made}
    return mine, [card["code"], other["code"], owner.email, *mine.values()]


async def made_order(http: httpx.AsyncClient, owner: SignedInMember, program: str) -> Json:
    """A paid order."""
    items = [{"program": program, "amount": 100}]
    body = {"items": items, "buyer": {"email": "b@example.com"}, "gateway": "test"}
    answer = await http.post("/orders", json=body, headers=owner.headers | key())
    assert answer.status_code == 201, answer.text
    order: Json = answer.json()
    assert (await http.post(order["pay_url"], data={"outcome": "paid"})).status_code == 303
    return order


async def _webhook_delivery(database: Database, mine: dict[str, str]) -> str:
    """A delivery, as a worker makes it."""
    made, card = ids.new_id(), ids.parse_id("crd", mine["crd"])
    async with database.transaction() as tx:
        await tx.run(
            "insert into florin.webhook_delivery"
            " (merchant, id, endpoint, event, type, card, next_at, give_up_at)"
            " select merchant, $1, $2, id, type, card, now(), now() from florin.event"
            " where card = $3 limit 1",
            made,
            ids.parse_id("whe", mine["whe"]),
            card,
        )
    return ids.show_id("whd", made)


async def _suppression(database: Database, mine: dict[str, str]) -> str:
    """An address that is suppressed, as a report of the mail server makes it."""
    delivery = ids.parse_id("dlv", mine["dlv"])
    made = ids.new_id()
    async with database.transaction() as tx:
        await tx.run(
            "insert into florin.suppression (merchant, id, address, reason, delivery)"
            " select merchant, $1, 'gone@home.example', 'bounced', id from florin.delivery"
            " where id = $2",
            made,
            delivery,
        )
    return ids.show_id("sup", made)


_SETTLED = {
    "cmr": """commission_rate (merchant, id, basis_points, valid_from, operator, actor, created_at)
        values ($1, $2, 1, now(), $1, 't', now())""",
    "pob": """payout_batch (merchant, id, currency, until, minimum, actor, created_at)
        values ($1, $2, 'EUR', now(), 1, 't', now())""",
    "pyo": """payout (merchant, id, operator, batch, currency, amount, commission, payments,
        created_at) values ($1, $2, $1, gen_random_uuid(), 'EUR', 1, 0, 1, now())""",
}


async def _settled(database: Database, owner: SignedInMember) -> dict[str, str]:
    """A commission, a batch of payouts and a payout, as an operator makes them."""
    merchant, found = ids.parse_id("mer", owner.tokens["merchant"]["id"]), dict[str, str]()
    async with database.transaction() as tx:
        for prefix, sql in _SETTLED.items():
            made = ids.new_id()
            await tx.run(f"insert into florin.{sql}", merchant, made)
            found[prefix] = ids.show_id(prefix, made)
    return found


def _ours(world: World, value: Any) -> Any:
    """An example, with our ids in place of the invented."""
    if isinstance(value, dict):
        return {name: _ours(world, each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_ours(world, each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str) and value.endswith(HIDDEN):
        return world.mine.get(value.partition("_")[0], value)
    return value


def _path(world: World, route: Route) -> str:
    path = route.path
    for parameter in route.operation["parameters"]:
        if parameter.get("in") == "path":
            ours = str(_ours(world, parameter["example"]))
            assert not ours.endswith(HIDDEN), f"{route.name}: make one of these in _things"
            path = path.replace(f"{{{parameter['name']}}}", ours)
    return path


# Of several parameters one is needed, which the document cannot say.
_ONE_OF = {"/people/export": {"email": "ada@example.com"}}


def _query(route: Route) -> dict[str, str]:
    """Examples of the parameters without which a request is invalid."""
    needed = _ONE_OF.get(route.path, {})
    return needed | {
        parameter["name"]: parameter["example"]
        for parameter in route.operation["parameters"]
        if parameter.get("in") == "query" and parameter.get("required")
    }


async def _call(world: World, route: Route, headers: dict[str, str]) -> httpx.Response:
    return await world.http.request(
        route.method,
        _path(world, route),
        params=_query(route),
        json=_ours(world, route.body()),
        headers=headers | key() | _STREAM,
    )


def _guarded(world: World) -> Iterator[Route]:
    found = [route for route in world.routes if route.need != "public"]
    assert len(found) > 40
    return iter(found)


def test_every_route_says_who_may_call_it(world: World) -> None:
    assert {route.name for route in world.routes} == set(NEEDS)
    for route in world.routes:
        asked = route.operation["security"]
        assert (asked == []) == (route.need == "public"), route.name
        if ":" in route.need:
            assert route.need in SCOPES
            assert asked == [{"bearer": [route.need]}]


def test_changing_rights_requires_a_proof_of_identity(world: World) -> None:
    """Also on a route that is new: what writes members or keys asks for a fresh proof, and says so;
    only keys are made and revoked by keys as well.
    """
    for route in world.routes:
        said = "reauthentication_required" in str(route.operation["responses"].get("403"))
        rights = route.need in {"members:write", "keys:write"} and route.method != "GET"
        assert (route.name in ROUTES.FRESH_PROOF) == rights == said, route.name
        assert (route.name in ROUTES.PEOPLE_ONLY) == (rights and route.need == "members:write")


async def test_no_request_is_accepted_without_credentials(world: World) -> None:
    mine = world.owner.tokens["access_token"]
    for route in _guarded(world):
        for headers in (
            {},
            {"authorization": "Bearer flk_" + "a" * 43},
            {"authorization": f"Bearer {mine[:-4]}AAAA"},
            {"authorization": f"Bearer {world.owner.tokens['refresh_token']}"},
            {"authorization": f"Basic {mine}"},
        ):
            answer = await _call(world, route, headers)
            assert answer.status_code == 401, (route.name, answer.text)
            assert answer.json()["code"] == "unauthenticated"


def _silent(world: World, answer: httpx.Response, asked: str = "") -> None:
    """Check that the response contains nothing of the merchant except what the caller sent."""
    named = f"{answer.request.url}{answer.request.content.decode()}{asked}"
    for secret in world.secrets:
        assert secret in named or secret not in answer.text, answer.text


async def test_what_is_anothers_is_not_there(world: World) -> None:
    """Ids of the merchant in paths and bodies, sent by callers with all rights at another one."""
    tried = 0
    for route in _guarded(world):
        if route.path == "/auth/logout":
            continue  # it would end the caller's own session
        inside = "{" in route.path
        for who, headers in world.strangers.items():
            answer = await _call(world, route, headers)
            _silent(world, answer)
            if route.path == "/redemptions/batch":
                assert [line["status"] for line in answer.json()["data"]] == [404]
            elif inside or HIDDEN in str(route.body()):
                tried += 1
                wanted = {403, 404} if inside else {403, 404, 422}
                assert answer.status_code in wanted, (who, route.name, answer.text)
    assert tried > 60


async def test_lists_show_nothing_of_another_merchant(world: World) -> None:
    tried = 0
    for route in (each for each in world.routes if each.method == "GET"):
        for parameter in route.operation["parameters"]:
            if parameter.get("in") == "query" and parameter["schema"]["type"] == "string":
                for ours in world.secrets:
                    answer = await world.http.get(
                        route.path,
                        params={parameter["name"]: ours},
                        headers=world.strangers["another owner"],
                    )
                    assert answer.status_code in {200, 404, 422}, (route.name, answer.text)
                    _silent(world, answer, ours)
                    tried += 1
    assert tried > 100


@pytest.mark.slow
async def test_one_scope_less_is_not_enough(world: World) -> None:
    """A key with every scope but the needed one, and one with no other."""
    for scope in sorted({route.need for route in world.routes if ":" in route.need}):
        without, alone = [
            {"authorization": f"Bearer {made.json()['secret']}"}
            for scopes in (sorted(SCOPES - {scope}), [scope])
            for made in [
                await world.http.post(
                    "/api-keys",
                    json={"name": scope, "scopes": scopes},
                    headers=world.owner.headers,
                )
            ]
        ]
        for route in world.routes:
            if route.need == scope:
                refused = await _call(world, route, without)
                assert refused.status_code == 403, (route.name, refused.text)
                assert scope in refused.json()["detail"]
                if route.method == "GET":
                    allowed = await _call(world, route, alone)
                    assert allowed.status_code not in {401, 403}, (route.name, allowed.text)
            elif ":" in route.need:
                refused = await _call(world, route, alone)
                assert refused.status_code == 403, (route.name, refused.text)


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"owner"}))
async def test_a_lesser_role_may_do_no_more(world: World, role: str) -> None:
    caller = await member(world.http, world.owner, role)
    tried = 0
    for route in _guarded(world):
        if ":" in route.need and route.need not in ROLES[role]:
            answer = await _call(world, route, caller.headers)
            assert answer.status_code == 403, (role, route.name, answer.text)
            tried += 1
        elif route.method == "GET" and route.need != "person":
            answer = await _call(world, route, caller.headers)
            assert answer.status_code not in {401, 403}, (role, route.name, answer.text)
    assert tried > 3


async def test_a_key_is_no_person(world: World, shop: Shop, owner: Any, database: Database) -> None:
    del shop
    other = await make_shop(owner, database)
    for route in world.routes:
        if route.need == "person":
            answer = await _call(world, route, other.headers)
            assert answer.status_code == 403, (route.name, answer.text)


# What Florin writes by itself meanwhile.
_ROWS = """
select string_agg(format('select %L || t.xmin::text || t::text as row from florin.%I t', c.relname,
  c.relname), ' union all ')
from pg_class c where c.relnamespace = 'florin'::regnamespace and c.relkind = 'r'
  and c.relname not in ('heartbeat', 'ledger_check', 'process')
"""


async def _rows(owner: Any) -> list[str]:
    """Every row of every table, with the transaction that wrote it."""
    every = await owner.fetchval(_ROWS)
    found = [row["row"] for row in await owner.fetch(f"select row from ({every}) t order by 1")]  # noqa: S608 -- names of tables
    assert len(found) > 50
    return found


async def test_head_changes_nothing_on_any_route(world: World, owner: Any) -> None:
    """Browsers, link checkers and proxies send it unasked."""
    await owner.execute("update florin.job set state = 'finished', done = total")
    read = {route.path for route in world.routes if route.method == "GET"}
    before = await _rows(owner)
    for route in world.routes:
        answer = await world.http.head(
            _path(world, route), params=_query(route), headers=world.owner.headers | key()
        )
        want = 409 if route.path == "/test-clock" else 200  # the merchant is no test merchant
        assert answer.status_code == (want if route.path in read else 405), route.name
        assert answer.content == b""
        assert await _rows(owner) == before, f"HEAD {route.path} has an effect"
