"""Failover monitor: check the primary several times a second, and fail over when it is gone."""

import asyncio
import signal
import time
from dataclasses import replace

from florin.ops.postgres import failover
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.postgres.replica_set import ReplicaSet
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system import processes
from florin.ops.system.console import OperatorError, say

LOOK_EVERY_S = 0.2
LOOK_IDLY_EVERY_S = 1.0  # without automatic failover: each check costs a connection
LOOK_AGAIN_S = 0.05  # after an unanswered check
ANSWER_WITHIN_S = 0.5
SILENCES = 3  # unanswered checks in a row: the primary is frozen; it is killed and replaced
ALONE_WITHIN_S = 20.0  # a replica that has not streamed for this long is copied again

_STREAMS = "select application_name from pg_stat_replication where state = 'streaming'"


class FailoverMonitor:
    """Decides which member is the primary; the supervisor restarts members that ended."""

    def __init__(self, fleet: Supervisor, members: ReplicaSet) -> None:
        self._fleet = fleet
        self._members = members
        self._silences = 0
        self._streamed: dict[str, float] = {}

    async def watch(self) -> None:
        """Check the primary until cancelled."""
        every_s = LOOK_EVERY_S if self._members.synchronous else LOOK_IDLY_EVERY_S
        while True:
            silent = self._silences and self._members.synchronous
            await asyncio.sleep(LOOK_AGAIN_S if silent else every_s)
            try:
                await self._check_members()
            except (OperatorError, OSError) as error:
                say(f"The check of the PostgreSQL primary failed: {error}")

    async def _check_members(self) -> None:
        name_roles(self._fleet, self._members)
        name = self._members.record().primary
        part = self._fleet.fleet.part(name)
        if part is None or part.state == "starting":
            return
        if part.process is None or not processes.is_alive(part.process):
            await asyncio.to_thread(failover.hand_over, self._members, name)
            self._silences = 0
            return
        if await self._answers(name):
            self._silences = 0
            return
        self._silences += 1
        if self._silences < SILENCES or not self._members.synchronous:
            return
        others = self._members.others(name)
        if (await failover.observe_members(others)).keys() == others.keys():
            say(f"{name} failed {self._silences} checks in a row; killing it to fail over.")
            processes.send_signal(part.process, signal.SIGKILL)
            await asyncio.to_thread(failover.fence_server, self._members.servers[name])
            await asyncio.to_thread(failover.hand_over, self._members, name)
            self._silences = 0

    async def _answers(self, name: str) -> bool:
        server = self._members.servers[name]
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                async with open_session(server.url(postgres.SUPERUSER), within_s=1) as connection:
                    if await connection.fetchval("select pg_is_in_recovery()"):
                        await failover.promote_server(server)  # an interrupted promotion
                    rows = await connection.fetch(_STREAMS)
        except NotYet:
            return False
        self._rebuild({row["application_name"] for row in rows})
        return True

    def _rebuild(self, streaming: set[str]) -> None:
        """Copy a replica again when it runs but cannot stream from the primary."""
        now = time.monotonic()
        for name in self._members.others(self._members.record().primary):
            part = self._fleet.fleet.part(name)
            runs = part is not None and part.process is not None and part.state == "ready"
            if name in streaming or not runs or part is None:
                self._streamed[name] = now
            elif now - self._streamed.setdefault(name, now) > ALONE_WITHIN_S and part.process:
                say(
                    f"{name} has not streamed from the primary for {ALONE_WITHIN_S:.0f} s; copying"
                    " it again."
                )
                self._members.rebuild.add(name)
                self._streamed[name] = now
                processes.send_signal(part.process, signal.SIGINT)


def name_roles(fleet: Supervisor, members: ReplicaSet) -> None:
    """Record each member's role in the state of the fleet."""
    primary = members.record().primary
    for name in members.servers:
        part = fleet.fleet.part(name)
        role = "postgres-primary" if name == primary else "postgres-replica"
        if part is not None and part.role != role:
            fleet.state.record(replace(part, role=role))
