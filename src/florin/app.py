"""App: the ASGI application of one instance, its parts, and the process `florin api`."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from litestar import Litestar, Request, get
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.response import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from florin import __version__
from florin.cards.guessing import Guesses
from florin.cards.hot import Hot
from florin.cards.issue import Cards
from florin.cards.lookup import Lookups
from florin.cards.money import Money
from florin.kit import headers, log, metrics, outcome, valkey
from florin.kit.belt import Belt
from florin.kit.compress import compressing
from florin.kit.db import BROKEN, Database, PoolTimeout
from florin.kit.docs_api import Docs
from florin.kit.drain import Drain
from florin.kit.edge import BODY_MAX, Edge
from florin.kit.errors import InvalidRequest, OutcomeUnknown, Overloaded, Refusal
from florin.kit.health import Health
from florin.kit.limits import Limit, Limits
from florin.kit.listing import created
from florin.kit.litestar import StrictRequest, check_body, check_query, exception_handlers
from florin.kit.position import Position
from florin.kit.proxies import Proxies
from florin.kit.queue.seen import Gauges
from florin.kit.reads import Reads, Routing
from florin.kit.replica import Replica
from florin.kit.seal import Sealer
from florin.kit.serve import serve
from florin.kit.settings import Settings, SettingsWrong, advice, read
from florin.kit.tokens import Tokens
from florin.kit.wake import Wake
from florin.ledger.issue import Issuer
from florin.ledger.lane import DISK_FULL
from florin.ledger.post import Ledger
from florin.merchants.access import Access, Caller, SecondFactorRequired
from florin.merchants.people import People
from florin.routes import BASE, NEEDS, api, reads_only, writes
from florin.webhooks.live import HAPPENED, Live

_METRICS_TYPE = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # the framework names it

_log = log.get()


class Parts:
    """What an instance is made of; made once, passed in, closed in order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.primary_url, name=f"florin {settings.instance}")
        self.valkey = (
            valkey.connect(settings.redis_url.get_secret_value()) if settings.redis_url else None
        )
        self.routing = self._routing()
        self.position = Position(self.database)
        pepper = settings.code_pepper.get_secret_value()
        sealer = Sealer(*settings.ring("seal_key"))
        self.sealer = sealer
        self.wake = Wake(self.valkey)
        self.queues = Gauges(self.database)
        self.happened = Wake(self.valkey, HAPPENED)
        self.ledger = Ledger(self.database, self._happened)
        self.issuer = Issuer(self.database, self._happened)
        self.access = Access(self.database, settings)
        self.people = People.of(settings, self.database, sealer)
        self.limits = Limits(
            self.valkey,
            shares=settings.limit_shares if self.valkey is not None else 1,
            patience_s=settings.limit_patience_ms / 1000,
        )
        self.proxies = Proxies(settings.trusted_proxies)
        self.guesses = Guesses(self.limits, settings)
        self.requests = Limit("requests", settings.requests_per_minute, 60)
        self.money = Money(self.ledger, self.database, settings.ring("code_pepper"), self.guesses)
        self.cards = Cards(self.issuer, self.database, pepper, sealer)
        self.lookups = Lookups(self.database, settings.ring("code_pepper"), self.guesses)
        self.drain = Drain(least_s=settings.drain_s, most_s=settings.drain_max_s)
        self.live = Live(self.database, self.happened, self.access)
        self.health = Health(
            drain=self.drain,
            dsn=self.database.limits.dsn,
            ping=self.valkey.ping if self.valkey is not None else None,
            release=settings.release,
            instance=settings.instance,
            first=Belt(settings).check,
        )

    def _happened(self, merchants: set[UUID]) -> None:
        self.happened.about(each.bytes for each in merchants)

    def _routing(self) -> Routing:
        name = f"florin {self.settings.instance} reads"
        replicas = [
            Replica(url, name=name, server=f"replica-{n}")
            for n, url in enumerate(self.settings.replica_urls, 1)
        ]
        if replicas and self.valkey is None:
            _log.warning("replicas are not read: REDIS_URL is not set")
        tokens = Tokens(self.valkey, self.database.position) if self.valkey is not None else None
        return Routing(self.database, replicas, tokens)

    async def open(self) -> None:
        await self.database.open()
        await self.routing.open()
        self.happened.start()
        self.health.start()

    async def close(self) -> None:
        await self.ledger.settle()
        await self.issuer.settle()
        await self.health.stop()
        await self.happened.stop()
        await self.routing.close()
        await self.database.close()
        if self.valkey is not None:
            await self.valkey.aclose()


def create(settings: Settings) -> Edge:
    """Make the application of an instance."""
    parts = Parts(settings)
    docs = Docs(BASE, NEEDS, settings.public_url, scoped=(SecondFactorRequired,))

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncGenerator[None]:
        await parts.open()
        try:
            yield
        finally:
            await parts.close()

    async def authenticate(asked: ASGIConnection[Any, Any, Any, Any], route: Any) -> None:
        """Before anything of a request is read: a stranger is told nothing about its body."""
        if "caller" in route.parsed_fn_signature.parameters:
            scope: Any = asked.scope
            scope["caller"] = await parts.access.caller(asked.headers.get("authorization"))
            scope["actor"] = scope["caller"].actor  # the log's
            path = str(scope["path_template"]).removeprefix(BASE)
            need = NEEDS[f"{scope['method']} {path}"]
            if ":" in need:
                scope["caller"].needs(need)

    async def caller(request: Request[Any, Any, Any]) -> Caller:
        scope: Any = request.scope
        await counted(scope["caller"])
        check_query(request)
        await check_body(request)
        return scope["caller"]

    async def reads(request: Request[Any, Any, Any], caller: Caller) -> Reads:
        given = request.headers.get("florin-consistency")
        try:
            return parts.routing.reads(caller.actor, given=given)
        except ValueError:
            detail = "this is no position that an answer gave"
            raise InvalidRequest(detail, param="Florin-Consistency") from None

    async def counted(caller: Caller) -> None:
        await parts.limits.take(parts.requests, caller.actor)

    async def position(scope: Any) -> str | None:
        # A stranger's refusal is no write of his, and a position that moves would tell him what his
        # request had made us write.
        return await parts.position.now() if "actor" in scope and writes(scope) else None

    litestar = Litestar(
        route_handlers=[
            api,
            *docs.routes(),
            health,
            health_live,
            health_ready,
            metrics_text,
        ],
        dependencies={
            "caller": Provide(caller),
            "reads": Provide(reads),
            "parts": Provide(lambda: parts, sync_to_thread=False),
            "db": Provide(lambda: parts.database, sync_to_thread=False),
            "settings": Provide(lambda: parts.settings, sync_to_thread=False),
            "wake": Provide(lambda: parts.wake, sync_to_thread=False),
            "drain": Provide(lambda: parts.drain, sync_to_thread=False),
            "live": Provide(lambda: parts.live, sync_to_thread=False),
            "sealer": Provide(lambda: parts.sealer, sync_to_thread=False),
            "access": Provide(lambda: parts.access, sync_to_thread=False),
            "people": Provide(lambda: parts.people, sync_to_thread=False),
            "ledger": Provide(lambda: parts.ledger, sync_to_thread=False),
            "money": Provide(lambda: parts.money, sync_to_thread=False),
            "cards": Provide(lambda: parts.cards, sync_to_thread=False),
            "lookups": Provide(lambda: parts.lookups, sync_to_thread=False),
            "created": Provide(created, sync_to_thread=False),
            "proxies": Provide(lambda: parts.proxies, sync_to_thread=False),
        },
        guards=[authenticate],
        exception_handlers=exception_handlers(translate),
        before_request=docs.options,
        openapi_config=OpenAPIConfig(
            title="Florin",
            version=__version__,
            operation_id_creator=lambda handler, _method, _parts: handler.handler_name,
            # Litestar answers every unknown address below this path with a page of its own, so the
            # document is served by a route of ours, beside the others.
            path="/openapi",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        lifespan=[lifespan],
        request_class=StrictRequest,
        request_max_body_size=BODY_MAX,
        logging_config=None,
    )
    hot = Hot(parts.access, parts.money, parts.lookups, parts.proxies, counted)
    lists = docs.lists(litestar)
    return Edge(
        # Litestar narrows the ASGI types
        compressing(litestar, lists.__contains__),  # pyright: ignore[reportArgumentType]
        hot={
            ("POST", f"{BASE}/redemptions"): hot.redeem,
            ("POST", f"{BASE}/redemptions/batch"): hot.batch,
            ("POST", f"{BASE}/cards/lookup"): hot.look_up,
        },
        translate=translate,
        drain=parts.drain,
        position=position,
        wrote=parts.routing.wrote if parts.routing.tokens is not None else None,
        instance=settings.instance if settings.log_level in {"debug", "info"} else None,
        headers=headers.always(settings.public_url),
    )


def translate(error: Exception, scope: Any) -> Refusal | None:
    """Name what the outside did to us; None for a bug."""
    if isinstance(error, PoolTimeout):
        busy = "every connection to the database is in use"
        return OutcomeUnknown(busy) if outcome.may_have_changed() else Overloaded(busy)
    if isinstance(error, asyncpg.DiskFullError):
        return OutcomeUnknown(DISK_FULL) if outcome.may_have_changed() else Overloaded(DISK_FULL)
    if isinstance(error, (*BROKEN, asyncpg.TooManyConnectionsError)):
        unreachable = "the database cannot be reached"
        return Overloaded(unreachable) if reads_only(scope) else OutcomeUnknown(unreachable)
    return None


@get("/health", include_in_schema=False)
async def health(parts: Parts) -> Response[dict[str, object]]:
    status, document = await parts.health.report()
    return Response(document, status_code=status, headers={"cache-control": "no-store"})


@get("/health/live", include_in_schema=False)
async def health_live() -> dict[str, str]:
    return {"status": "alive"}


@get("/health/ready", include_in_schema=False)
async def health_ready(parts: Parts) -> Response[dict[str, str]]:
    status = parts.health.ready()
    words = {200: "ready", 404: "draining", 503: "unready"}
    return Response({"status": words[status]}, status_code=status)


@get("/metrics", include_in_schema=False)
async def metrics_text(parts: Parts) -> Response[bytes]:
    for pool in (parts.database.pool, *(each.pool for each in parts.routing.replicas)):
        pool.measure()
    metrics.ledger_waiting.set(parts.ledger.waiting())
    await parts.queues.refresh()
    return Response(generate_latest(metrics.registry), media_type=_METRICS_TYPE)


def main() -> int:
    """Serve `florin api`: one process, configured by the environment; return the exit code."""
    try:
        settings = read()
    except SettingsWrong as wrong:
        for mistake in wrong.mistakes:
            print(mistake, file=sys.stderr)
        return 2
    log.set_up(level=settings.log_level, instance=settings.instance)
    for remark in advice():
        _log.warning("a setting", detail=remark)
    return serve(create(settings), settings)
