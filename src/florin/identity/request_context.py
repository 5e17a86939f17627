"""Request context: the audit actor of a request, and the log position that its writes reached."""

from florin.identity.audit_log import AuditActor
from florin.identity.authentication import Caller
from florin.kit.http.asgi import asgi_scope
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.postgres.database import Database


def audit_actor(request: AnyRequest, caller: Caller) -> AuditActor:
    request_id = asgi_scope(request)["request_id"]
    return AuditActor(merchant=caller.merchant, actor=caller.actor, request_id=request_id)


async def send_position(request: AnyRequest, db: Database, position: str | None = None) -> None:
    """Send the log position that the caller's later reads must have reached; by default that of
    now.
    """
    asgi_scope(request)["position"] = position or await db.position()
