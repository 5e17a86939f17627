"""Member: one server of a PostgreSQL replica set as a part of the fleet."""

from dataclasses import dataclass, replace

from florin.ops.fleet.model import Role
from florin.ops.postgres import failover
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.postgres.replica_set import ReplicaSet
from florin.ops.postgres.server import Postgres
from florin.ops.postgres.standby import end_of_log, make_standby, read_control_file
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system.console import OperatorError


@dataclass(frozen=True, slots=True)
class PostgresMember:
    """A server and the replica set it belongs to."""

    server: Postgres
    members: ReplicaSet

    def wanted(self) -> PartSpec:
        want = self.server.wanted()
        return replace(
            want,
            role=self.role(),
            role_now=self.role,
            ready=self.ready,
            ready_within_s=want.ready_within_s,
            prepare=self.prepare,
            settle=self.settle,
        )

    def role(self) -> Role:
        mine = self.members.record().primary == self.server.name
        return "postgres-primary" if mine else "postgres-replica"

    def prepare(self) -> None:
        """Take the role of the record; a primary that ended first lets another member take over."""
        members, name = self.members, self.server.name
        mine = read_control_file(self.server)
        # The members that have a database when this one's is gone.
        others = (
            ()
            if mine
            else [n for n, each in members.others(name).items() if read_control_file(each)]
        )
        if members.record().primary == name and (mine or others):
            failover.hand_over(members, name, ended=end_of_log(self.server))
        if members.record().primary == name:
            if others:
                # A new, empty database would overwrite those of the other members.
                raise OperatorError(
                    f"The database of {name} is missing from {self.server.data}, and no replica is"
                    f" known to have all of it: {' and '.join(others)} may lack the last writes."
                    " Put the directory back, or run florin failover --accept-loss or florin"
                    " restore."
                )
            self.server.prepare()
            return
        rebuild = name in members.rebuild
        make_standby(self.server, members.primary(), rebuild=rebuild)
        members.rebuild.discard(name)

    async def ready(self) -> bool:
        return await self.server.ready()

    async def settle(self) -> None:
        if self.members.record().primary != self.server.name:
            return
        try:
            async with open_session(self.server.url(postgres.SUPERUSER)) as connection:
                behind = await connection.fetchval("select pg_is_in_recovery()")
        except NotYet as error:
            raise OperatorError(f"{self.server.name} did not answer: {error!r}.") from None
        if behind:
            await failover.promote_server(self.server)  # an interrupted promotion
        await self.server.make_roles()
