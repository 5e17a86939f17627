"""Server slots: the balancer's wanted state, stored in its folder so that its next start has it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from florin.ops.fleet.home import write_file
from florin.ops.fleet.model import Algorithm
from florin.ops.system.console import OperatorError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADDRESS = re.compile(r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]):\d{1,5}")


class SlotServer(msgspec.Struct, frozen=True, kw_only=True):
    """One instance: `slot` is its number among the predeclared servers, from 1."""

    name: str
    slot: int
    address: str
    admitted: bool = True  # False: it drains, finishes its requests and gets no new ones


class BalancerState(msgspec.Struct, frozen=True, kw_only=True):
    """The state that changes while the balancer runs."""

    algorithm: Algorithm = "roundrobin"
    servers: tuple[SlotServer, ...] = ()

    def server(self, name: str) -> SlotServer | None:
        return next((server for server in self.servers if server.name == name), None)

    def of_slot(self, slot: int) -> SlotServer | None:
        return next((server for server in self.servers if server.slot == slot), None)

    def admits(self, slot: int) -> bool:
        server = self.of_slot(slot)
        return server is not None and server.admitted

    def admitting(self, name: str, address: str, *, slots: int) -> "BalancerState":
        """Return the state with this instance admitted, in its slot or the first free one."""
        if not _NAME.fullmatch(name) or not _ADDRESS.fullmatch(address):
            raise ValueError(f"not an instance and its address: {name!r} {address!r}")
        known = self.server(name)
        slot = known.slot if known else self._free_slot(slots)
        return self._with(SlotServer(name=name, slot=slot, address=address))

    def switching(
        self, admit: Mapping[str, str], drain: Iterable[str], *, slots: int
    ) -> "BalancerState":
        """Return the state with these instances (name: address) admitted and those drained."""
        after = self
        for name, address in admit.items():
            after = after.admitting(name, address, slots=slots)
        for name in drain:
            after = after.draining(name)
        return after

    def draining(self, name: str) -> "BalancerState":
        known = self.server(name)
        return self._with(msgspec.structs.replace(known, admitted=False)) if known else self

    def forgetting(self, name: str) -> "BalancerState":
        others = tuple(server for server in self.servers if server.name != name)
        return msgspec.structs.replace(self, servers=others)

    def switched(self, algorithm: Algorithm) -> "BalancerState":
        return msgspec.structs.replace(self, algorithm=algorithm)

    def _free_slot(self, slots: int) -> int:
        taken = {server.slot for server in self.servers}
        for slot in range(1, slots + 1):
            if slot not in taken:
                return slot
        raise OperatorError(
            f"All {slots} server slots of the balancer are in use; run fewer instances (florin"
            " scale api=N)."
        )

    def _with(self, server: SlotServer) -> "BalancerState":
        others = [other for other in self.servers if other.name != server.name]
        servers = tuple(sorted((*others, server), key=lambda each: each.slot))
        return msgspec.structs.replace(self, servers=servers)


def read_state(path: Path) -> BalancerState:
    """Return the stored state; an empty one if there is none or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=BalancerState)
    except (OSError, msgspec.DecodeError):
        return BalancerState()


def save_state(path: Path, facts: BalancerState) -> None:
    write_file(path, msgspec.json.encode(facts))
