"""Client: the document of the operator process, for the command line."""

import msgspec

from florin.ops.fleet.home import Home
from florin.ops.fleet.observe import observe_fleet
from florin.ops.operator_page.document import OperatorState
from florin.ops.system import http_probe

_OK = 200
_WITHIN_S = 2.0


async def read_state(home: Home) -> OperatorState | None:
    """Return the state; None when no operator process answers, or one of another release."""
    part = observe_fleet(home).part("operator")
    if part is None or part.process is None or part.address is None:
        return None
    answer = await http_probe.probe(part.address, "/operator/state", within_s=_WITHIN_S)
    if answer is None or answer.status != _OK:
        return None
    try:
        return msgspec.json.decode(answer.body, type=OperatorState)
    except msgspec.DecodeError:
        return None
