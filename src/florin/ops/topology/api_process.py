"""API process: one instance of the application as a part of the fleet."""

from florin.ops.fleet.timing import DEFAULT
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import http_probe
from florin.ops.topology.app_process import HOST, AppProcess

_WIRES = (
    *("DATABASE_URL", "DATABASE_URL_REPLICA", "REDIS_URL"),
    *("FLORIN_HOST", "FLORIN_PORT", "FLORIN_OPERATIONS_PORT"),
)


class ApiProcess(AppProcess):
    """One instance: it answers requests from the balancer."""

    def wanted(self) -> PartSpec:
        environ = {
            "FLORIN_PORT": str(self.port),
            # Only the balancer's X-Forwarded-For is trusted; it applies the operator's setting.
            "FLORIN_TRUSTED_PROXIES": f"{HOST}/32",
        }
        return self.part(
            "api",
            environ,
            wires=_WIRES,
            ready="/health/ready",
            defaults=DEFAULT.environ(),
            alive=self.alive,
        )

    async def alive(self) -> bool:
        return await http_probe.probe(self.address, "/health/live", within_s=3) is not None
