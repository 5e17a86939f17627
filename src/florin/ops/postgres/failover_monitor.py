"""Failover monitor: watches the primary several times a second, and has another one take over."""

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
LOOK_IDLY_EVERY_S = 1.0  # where nobody is promoted by itself: each look costs a connection
LOOK_AGAIN_S = 0.05  # after a silence
ANSWER_WITHIN_S = 0.5
SILENCES = 3  # in a row: then it is taken for frozen, ended, and another one takes over
ALONE_WITHIN_S = 20.0  # a replica that does not stream for so long is made a copy again

_STREAMS = "select application_name from pg_stat_replication where state = 'streaming'"


class FailoverMonitor:
    """Beside the supervisor, which starts whatever ended; this says what it is started as."""

    def __init__(self, fleet: Supervisor, members: ReplicaSet) -> None:
        self._fleet = fleet
        self._members = members
        self._silences = 0
        self._streamed: dict[str, float] = {}

    async def watch(self) -> None:
        """Look for ever."""
        every_s = LOOK_EVERY_S if self._members.synchronous else LOOK_IDLY_EVERY_S
        while True:
            silent = self._silences and self._members.synchronous
            await asyncio.sleep(LOOK_AGAIN_S if silent else every_s)
            try:
                await self._look()
            except (OperatorError, OSError) as error:
                say(f"The primary could not be looked after: {error}")

    async def _look(self) -> None:
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
            say(f"{name} has not answered {self._silences} times in a row; ending it.")
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
                        await failover.promote_server(server)  # it was to be, and was cut off
                    rows = await connection.fetch(_STREAMS)
        except NotYet:
            return False
        self._rebuild({row["application_name"] for row in rows})
        return True

    def _rebuild(self, streaming: set[str]) -> None:
        """Have a replica that runs but cannot follow made a copy of the primary again."""
        now = time.monotonic()
        for name in self._members.others(self._members.record().primary):
            part = self._fleet.fleet.part(name)
            runs = part is not None and part.process is not None and part.state == "ready"
            if name in streaming or not runs or part is None:
                self._streamed[name] = now
            elif now - self._streamed.setdefault(name, now) > ALONE_WITHIN_S and part.process:
                say(f"{name} has not followed for {ALONE_WITHIN_S:.0f} s; it is made a copy again.")
                self._members.rebuild.add(name)
                self._streamed[name] = now
                processes.send_signal(part.process, signal.SIGINT)


def name_roles(fleet: Supervisor, members: ReplicaSet) -> None:
    """Write down who is the primary and who a replica."""
    primary = members.record().primary
    for name in members.servers:
        part = fleet.fleet.part(name)
        role = "postgres-primary" if name == primary else "postgres-replica"
        if part is not None and part.role != role:
            fleet.record(replace(part, role=role))
