"""Balancer: HAProxy in front of the instances of a benchmark, as in a fleet."""

from florin.bench.environment.servers import BenchInstance, BenchServers
from florin.ops.fleet.timing import DEFAULT
from florin.ops.haproxy import balancer, program
from florin.ops.haproxy.settings import BalancerSettings
from florin.ops.system import os_user, ports


async def start_balancer(bench: BenchServers) -> BenchInstance:
    """Start HAProxy in front of the instances that run."""
    edge = BalancerSettings(
        timing=DEFAULT,
        port=ports.free_port(),
        operations_port=ports.free_port(),
        folder=bench.home.run / balancer.NAME,
        user=os_user.choose_account([]),
    )
    made = balancer.Balancer(edge, program.find_haproxy())
    want = made.wanted()
    started = await bench.start(want)
    await want.settle()
    for number, instance in enumerate(bench.instances, 1):
        await made.admit(f"api-{number}", instance.address)
    assert started.process is not None
    bench.balancer = started.process.pid
    return BenchInstance(address=made.address, pid=bench.balancer)
