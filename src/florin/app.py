"""App: the ASGI application of one instance, and the process `florin api`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
from litestar import Litestar, Request
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from florin import __version__
from florin.cards.api.fast_routes import FastRoutes
from florin.identity.authentication import Caller, SecondFactorRequired
from florin.kit.client_departure import require_client
from florin.kit.errors import InvalidRequest, OutcomeUnknown, Overloaded, Refusal
from florin.kit.http import headers
from florin.kit.http.compression import compress_responses
from florin.kit.http.list_filters import created_filter
from florin.kit.http.litestar_adapter import (
    StrictRequest,
    check_body,
    check_query,
    exception_handlers,
)
from florin.kit.http.middleware import BODY_MAX, RequestMiddleware
from florin.kit.observability import logging
from florin.kit.observability.telemetry import process_telemetry
from florin.kit.openapi.routes import ApiDocumentation
from florin.kit.postgres import commit_tracking
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout, StatementTimeout
from florin.kit.replicas.routing import RoutedReader
from florin.kit.server.server import serve_app
from florin.kit.settings import Settings, settings_advice
from florin.kit.settings.startup import settings_of_process
from florin.ledger.batching import DISK_FULL, LOCKED
from florin.operations_api import endpoints, health, health_live, health_ready
from florin.routes import (
    BASE,
    FRESH_PROOF,
    NEEDS,
    api,
    reads_only,
    require_allowed,
    writes,
)
from florin.routes import pages as order_pages
from florin.services import DEPENDENCIES, ApiServices
from florin.web.error_pages import show_problem
from florin.web.origin_check import checks_origin
from florin.web.page_routes import pages, require_page_allowed

_log = logging.get_logger()


def create_app(settings: Settings, parts: ApiServices, *, fast: bool = True) -> RequestMiddleware:
    """Make the application of an instance. Without `fast`, its documented handlers answer all
    requests, so that tests can compare them with the fast routes.
    """
    count_request = partial(parts.limits.acquire, parts.requests)
    docs = ApiDocumentation(BASE, NEEDS, settings.public_url, scoped=(SecondFactorRequired,))

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncGenerator[None]:
        await parts.open()
        try:
            yield
        finally:
            await parts.close()

    async def authenticate(connection: ASGIConnection[Any, Any, Any, Any], route: Any) -> None:
        """Runs before the body is read: a caller without credentials learns nothing about it."""
        if "caller" in route.parsed_fn_signature.parameters:
            scope: Any = connection.scope
            path = str(scope["path_template"]).removeprefix(BASE)
            name = f"{scope['method']} {path}"
            anew = name in FRESH_PROOF  # other routes accept a cached authentication
            caller = await parts.access.caller(connection.headers.get("authorization"), anew=anew)
            scope["caller"] = caller
            scope["actor"] = caller.actor  # for the request log
            await count_request(caller.actor)
            require_allowed(caller, name)
        if route.opt.get("page"):
            await admit_visitor(parts, connection, route)
        else:
            check_query(connection)

    async def caller(request: Request[Any, Any, Any]) -> Caller:
        scope: Any = request.scope
        await check_body(request)
        await require_client(request.method)
        return scope["caller"]

    async def reads(request: Request[Any, Any, Any], caller: Caller) -> RoutedReader:
        token = request.headers.get("florin-consistency")
        if token is None:
            return parts.routing.reader(caller.actor)
        try:
            position, is_signed = parts.signer.read(token)
            return parts.routing.reader(caller.actor, given=position, ours=is_signed)
        except ValueError:
            detail = (
                "Invalid Florin-Consistency token: send the value of a response's"
                " Florin-Consistency header, or omit the header"
            )
            raise InvalidRequest(detail, param="Florin-Consistency") from None

    async def position(scope: Any) -> str | None:
        # No position without authentication: a refused caller wrote nothing, and a moving position
        # would reveal what the request made Florin write.
        return await parts.position.now() if "actor" in scope and writes(scope) else None

    litestar = Litestar(
        route_handlers=[
            api,
            order_pages,
            *docs.routes(),
            health,
            health_live,
            health_ready,
            pages,
        ],
        dependencies={
            "caller": Provide(caller),
            "reads": Provide(reads),
            "parts": Provide(lambda: parts, sync_to_thread=False),
            "db": Provide(database, sync_to_thread=False),
            "created": Provide(created_filter, sync_to_thread=False),
            **{name: provide_attribute(parts, name) for name in DEPENDENCIES},
        },
        guards=[authenticate],
        exception_handlers=exception_handlers(translate_error, show_problem),
        before_request=docs.options,
        openapi_config=OpenAPIConfig(
            title="Florin",
            version=__version__,
            operation_id_creator=lambda handler, _method, _parts: handler.handler_name,
            # Litestar answers every unknown address below this path with its own page, so an
            # ordinary route of Florin's serves the document.
            path="/openapi",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        lifespan=[lifespan],
        request_class=StrictRequest,
        request_max_body_size=BODY_MAX,
        logging_config=None,
    )
    fast_routes = FastRoutes(parts.access, parts.operations, count_request)
    lists = docs.lists(litestar)
    served = RequestMiddleware(
        checks_origin(
            # Litestar narrows the ASGI types
            compress_responses(litestar, lists.__contains__),  # pyright: ignore[reportArgumentType]
            settings.public_url,
        ),
        hot=fast_routes.by_path(BASE) if fast else {},
        translate=translate_error,
        drain=parts.drain,
        position=position,
        token=parts.signer.token,
        wrote=parts.routing.record_write if parts.routing.tokens is not None else None,
        instance=settings.instance,
        headers=headers.response_headers(settings.public_url),
        show=show_problem,
    )
    parts.internal_api.connect(served)
    return served


async def admit_visitor(parts: ApiServices, connection: Any, route: Any) -> None:
    """Find the visitor of a page that is for people who signed in, before its body is read.

    Raises SignInNeeded, Forbidden, SecondFactorRequired.
    """
    if "visitor" in route.parsed_fn_signature.parameters:
        visitor = await parts.visitors.find(connection)
        scope: Any = connection.scope
        scope["visitor"] = visitor
        require_page_allowed(visitor.caller, f"{scope['method']} {scope['path_template']}")


def provide_attribute(parts: ApiServices, name: str) -> Provide:
    """Provide an attribute of the services to the routes that name it as a parameter."""
    return Provide(lambda: getattr(parts, name), sync_to_thread=False)


def database(request: Request[Any, Any, Any], parts: ApiServices) -> Database:
    """Read-only database with a statement timeout for a GET, unless its route is `unbounded`."""
    bounded = request.method == "GET" and not request.route_handler.opt.get("unbounded")
    return parts.routing.reading if bounded else parts.database


def translate_error(error: Exception, scope: Any) -> Refusal | None:
    """Translate a failure of a dependency into a refusal; None for a bug."""
    if isinstance(error, PoolTimeout):
        busy = "All database connections are in use; repeat the request later"
        return OutcomeUnknown(busy) if commit_tracking.may_have_changed() else Overloaded(busy)
    if isinstance(error, StatementTimeout):
        return Overloaded("The database query timed out; request fewer objects or add filters")
    if isinstance(error, asyncpg.DiskFullError | asyncpg.LockNotAvailableError):
        why = DISK_FULL if isinstance(error, asyncpg.DiskFullError) else LOCKED
        return OutcomeUnknown(why) if commit_tracking.may_have_changed() else Overloaded(why)
    if isinstance(error, (*BROKEN, asyncpg.TooManyConnectionsError)):
        unreachable = "The database cannot be reached"
        return Overloaded(unreachable) if reads_only(scope) else OutcomeUnknown(unreachable)
    return None


def main() -> int:
    """Serve `florin api`: one process, configured by the environment; return the exit code."""
    settings = settings_of_process()
    if settings is None:
        return 2
    with process_telemetry(settings):
        for advice in settings_advice():
            _log.warning("a setting", detail=advice)
        parts = ApiServices(settings)
        return serve_app(create_app(settings, parts), settings, endpoints(parts))
