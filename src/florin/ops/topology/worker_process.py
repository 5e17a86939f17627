"""Worker process: one process that runs jobs, as a part of the fleet."""

from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.topology.app_process import AppProcess

SLOTS = 5  # jobs at once
_WIRES = ("DATABASE_URL", "REDIS_URL", "FLORIN_OPERATIONS_PORT", "SMTP_HOST", "SMTP_PORT")


class WorkerProcess(AppProcess):
    """One worker: it runs jobs; its operations port is its only port."""

    def wanted(self) -> PartSpec:
        return self.part("worker", {}, wires=_WIRES, ready="/metrics")
