"""API: the queues of the installation, for its operator."""

from typing import Literal

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler

from florin.identity.authentication import Caller
from florin.kit.errors import Forbidden
from florin.kit.http.body import Page
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.queue import stats
from florin.kit.settings import Settings
from florin.operator.operators import is_operator


class Queue(msgspec.Struct, kw_only=True):
    """A queue of the whole installation: jobs that are due (`waiting`), due later (`delayed`),
    running (`active`) or dead letters (`dead`). `completed` and `failed` count since the queue
    exists. Times are in seconds, rates per second.
    """

    object: Literal["queue"] = "queue"
    name: str
    paused: bool
    waiting: int
    delayed: int
    active: int
    dead: int
    completed: int
    failed: int
    oldest_age: float
    arrival_rate: float
    completion_rate: float
    service_time: float | None


@get("/queues", summary="List queues", responses=refusal_responses(Forbidden))
async def list_queues(caller: Caller, db: Database, settings: Settings) -> Page[Queue]:
    """All queues, including empty ones, the most important first. For operators: owners, and keys
    with `queues:read`, of the merchants in the setting `FLORIN_OPERATORS`.
    """
    caller.needs("queues:read")
    if not is_operator(caller, settings):
        raise Forbidden(
            "this merchant is not in FLORIN_OPERATORS, the operators of the installation"
        )
    async with db.connection() as connection:
        facts = await stats.read_queues(connection)
    return Page(
        data=[
            Queue(
                name=queue.name,
                paused=queue.paused,
                waiting=queue.waiting,
                delayed=queue.delayed,
                active=queue.active,
                dead=queue.dead,
                completed=queue.completed,
                failed=queue.failed,
                oldest_age=round(queue.oldest_s, 3),
                arrival_rate=round(queue.arrivals_30s, 3),
                completion_rate=round(queue.completions_30s, 3),
                service_time=queue.service_s,
            )
            for queue in facts
        ],
        has_more=False,
    )


handlers: list[HTTPRouteHandler] = [list_queues]
