"""End client: whom a caller asks for: a web shop's server names its visitor, so that the wrong
codes of one are not counted against all.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from litestar.params import Parameter

from florin.identity.authentication import Caller
from florin.kit.http.client_address import TrustedProxies, named_address

HEADER = "Florin-Client-Ip"
SCOPE = "clients:name"

# Text and no null, as an Idempotency-Key is.
ClientIp = Annotated[
    str,
    Parameter(
        header=HEADER,
        description="The address of the client whom you ask for: wrong codes are counted against"
        " it, not against your own. Needs the scope `clients:name`.",
    ),
]


def end_client(
    caller: Caller, named: str | None, scope: Mapping[str, Any], proxies: TrustedProxies
) -> tuple[str, bool]:
    """The address that wrong codes are counted against, and whether the caller named it.

    Raises Forbidden, InvalidRequest.
    """
    if not named:
        return proxies.client_address(scope), False
    caller.needs(SCOPE)
    return named_address(named, header=HEADER), True
