"""Role monitor: record the roles of the Valkey servers, which elect their primaries themselves."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Role
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system.console import OperatorError, say
from florin.ops.valkey import client as ask
from florin.ops.valkey import users
from florin.ops.valkey.topology import ROLES, ValkeyDeployment

_LOOK_EVERY_S = 1.0
_MEND_EVERY = 5  # checks; a repair is not urgent


async def read_roles(home: Home, fleet: Fleet) -> dict[str, Role | None]:
    """Return the role that each running Valkey and Sentinel reports; None: it does not answer."""
    parts = [part for part in fleet.parts if part.role in ROLES and part.process and part.address]
    try:
        password = secrets.read_secrets(home).get(users.OPERATOR_SECRET, "")
    except OperatorError:
        return {}
    said = await asyncio.gather(*(ask.read_role(part.address or "", password) for part in parts))
    return {part.name: role for part, role in zip(parts, said, strict=True)}


async def monitor_roles(fleet: Supervisor, memory: ValkeyDeployment) -> None:
    """Record roles and repair the topology until cancelled. Errors are logged, not raised."""
    for turn in count(1):
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            for name, role in (await read_roles(fleet.home, fleet.fleet)).items():
                _note(fleet, name, role)
            if turn % _MEND_EVERY == 0:
                await memory.repair()
        except (OperatorError, OSError, ValueError) as error:
            say(f"The check of the Valkey servers failed: {error}")


def _note(fleet: Supervisor, name: str, role: Role | None) -> None:
    part = fleet.fleet.part(name)
    if part is None or part.state != "ready" or role is None or role == part.role:
        return
    note = ""
    if role == "valkey-primary":
        note = f"took over as a primary at {datetime.now(UTC):%H:%M:%S} UTC"
        say(f"{name} {note}.")
    fleet.state.record(replace(part, role=role, note=note))
