"""Front: HAProxy before the instances of a benchmark, as a fleet has it."""

from florin.bench.topology import Bench, Instance
from florin.ops import ports
from florin.ops.balancer import balancer, program
from florin.ops.balancer.edge import Edge
from florin.ops.engines import account
from florin.ops.timing import DEFAULT


async def start_balancer(bench: Bench) -> Instance:
    """Put HAProxy in front of the instances there are."""
    edge = Edge(
        timing=DEFAULT,
        port=ports.free_port(),
        operator_port=ports.free_port(),
        folder=bench.home.run / balancer.NAME,
        user=account.choose([]),
    )
    made = balancer.Balancer(edge, program.find())
    want = made.wanted()
    started = await bench.start(want)
    await want.settle()
    for number, instance in enumerate(bench.instances, 1):
        await made.admit(f"api-{number}", instance.address)
    assert started.process is not None
    bench.balancer = started.process.pid
    return Instance(address=made.address, pid=bench.balancer)
