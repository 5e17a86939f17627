"""Replicas: a benchmark's own primary with streaming replicas, and its Valkey."""

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
    """The servers, and the settings with which instances find them."""

    members: ReplicaSet
    settings: Mapping[str, str]


async def start_members(
    bench: BenchServers, replicas: int, more: Mapping[str, str]
) -> ReplicatedServers:
    """Start the servers as a fleet does, plus the settings `more`, and migrate the database."""
    folder, user = bench.place()
    free_ports: list[int] = []
    for _ in range(replicas + 2):
        free_ports.append(ports.free_port(but=free_ports))
    servers = {
        name: postgres.embedded_postgres(folder, port, bench.secrets, user, name=name)
        for name, port in zip(members_.member_names(replicas), free_ports[1:], strict=True)
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
        valkey.embedded_valkey(folder / "valkey", free_ports[0], bench.secrets, user),
    )
    for spec in valkeys.wanted():
        await bench.start(spec)
    await bench.migrate(postgres.DATABASE)
    urls = ",".join(each.url(postgres.APP) for each in others)
    return ReplicatedServers(members, {"DATABASE_URL_REPLICA": urls, "REDIS_URL": valkeys.url})
