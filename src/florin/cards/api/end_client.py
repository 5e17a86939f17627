"""End client: the client on whose behalf a caller sends a request. The server of a web shop passes
the address of its visitor, so that the wrong codes of one visitor are not counted against all.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from litestar.params import Parameter

from florin.identity.authentication import Caller
from florin.kit.http.client_address import TrustedProxies, named_address

HEADER = "Florin-Client-Ip"
SCOPE = "clients:name"

# A string with an empty default, like Idempotency-Key: the OpenAPI document shows no null.
ClientIp = Annotated[
    str,
    Parameter(
        header=HEADER,
        description="The IP address of the client on whose behalf you send this request. Wrong"
        " codes are counted against it, not against your own. Needs the scope `clients:name`.",
    ),
]


def end_client(
    caller: Caller, named: str | None, scope: Mapping[str, Any], proxies: TrustedProxies
) -> tuple[str, bool]:
    """Return the address that wrong codes are counted against, and whether the caller named it.

    Raises Forbidden, InvalidRequest.
    """
    if not named:
        return proxies.client_address(scope), False
    caller.needs(SCOPE)
    return named_address(named, header=HEADER), True
