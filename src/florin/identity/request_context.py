"""Request context: the audit actor of a request, and the log position that its writes reached."""

from typing import Any

from litestar import Request

from florin.identity.audit_log import AuditActor
from florin.identity.authentication import Caller
from florin.kit.postgres.database import Database

AnyRequest = Request[Any, Any, Any]


def audit_actor(request: AnyRequest, caller: Caller) -> AuditActor:
    scope: Any = request.scope
    return AuditActor(merchant=caller.merchant, actor=caller.actor, request_id=scope["request_id"])


async def send_position(request: AnyRequest, db: Database) -> None:
    """Send the log position that the caller's later reads must have reached."""
    request.scope["position"] = await db.position()  # pyright: ignore[reportGeneralTypeIssues]
