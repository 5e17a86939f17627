"""ASGI: types of the ASGI 3.0 interface."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def asgi_scope(request: Any) -> Scope:
    """The scope of a framework's request with the keys that Florin adds, which its type lacks."""
    scope: Scope = request.scope
    return scope
