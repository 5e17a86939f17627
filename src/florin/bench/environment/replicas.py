"""Replicas: a primary with streaming replicas of a benchmark's own, and the Valkey they need."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from florin.bench.environment.servers import BenchServers
from florin.ops.postgres import replica_set as members_
from florin.ops.postgres import server as postgres
from florin.ops.postgres.member import PostgresMember
from florin.ops.postgres.replica_set import ReplicaSet
from florin.ops.system import ports
from florin.ops.valkey import server as valkey
from florin.ops.valkey import topology


@dataclass(frozen=True, slots=True)
class ReplicatedServers:
    """The servers, and what instances are told of them."""

    members: ReplicaSet
    told: Mapping[str, str]


async def start_members(
    bench: BenchServers, replicas: int, more: Mapping[str, str]
) -> ReplicatedServers:
    """Start them set up as a fleet's and `more`, with a migrated database."""
    folder, user = bench.place()
    chosen: list[int] = []
    for _ in range(replicas + 2):
        chosen.append(ports.free_port(but=chosen))
    servers = {
        name: postgres.embedded_postgres(folder, port, bench.secrets, user, name=name)
        for name, port in zip(members_.member_names(replicas), chosen[1:], strict=True)
    }
    members = members_.arrange_members(bench.home, servers, folder)
    for name, server in servers.items():
        servers[name] = replace(server, more=dict(server.more) | dict(more))
    primary = members.primary()
    others = list(members.others(primary.name).values())
    await bench.serve(primary, PostgresMember(primary, members).wanted())
    for server in others:
        await bench.start(PostgresMember(server, members).wanted())
    valkeys = topology.SingleDeployment(
        valkey.embedded_valkey(folder / "valkey", chosen[0], bench.secrets, user),
    )
    for want in valkeys.wanted():
        await bench.start(want)
    await bench.migrate(postgres.DATABASE)
    urls = ",".join(each.url(postgres.APP) for each in others)
    return ReplicatedServers(members, {"DATABASE_URL_REPLICA": urls, "REDIS_URL": valkeys.url})
