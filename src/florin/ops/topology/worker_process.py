"""Worker process: one process that runs jobs, as a part of the fleet."""

from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.topology.app_process import AppProcess

SLOTS = 5  # jobs at once
_WIRES = ("DATABASE_URL", "REDIS_URL", "FLORIN_WORKER_PORT")


class Worker(AppProcess):
    """One worker: it takes jobs, and tells its metrics."""

    def wanted(self) -> PartSpec:
        told = {"FLORIN_WORKER_PORT": str(self.port)}
        return self.part("worker", told, wires=_WIRES, ready="/metrics")
