"""Migration job: run the migration of a release in the cluster, before its first pod starts."""

import asyncio
import time

from florin.ops.fleet.cluster_timing import CLUSTER
from florin.ops.kubernetes.colour_set import fresh_job
from florin.ops.kubernetes.kubectl import KubectlCommand
from florin.ops.system.console import OperatorError

JOB = "florin-migrate"
_DELETED_WITHIN_S = 120.0


async def run_migration(kubectl: KubectlCommand, image: str, *, poll_s: float) -> None:
    """Replace the Job of the release before by one of this image, and wait until it is complete.

    The schema only gains (expand), so a deployment that is undone leaves it as it is. Raises
    OperatorError when the Job fails.
    """
    job = await kubectl.get("job", JOB)
    if job is None:
        raise OperatorError(f"There is no Job {JOB}, from which that of a release is made")
    await kubectl.delete("job", JOB)
    deadline = time.monotonic() + _DELETED_WITHIN_S
    while await kubectl.get("job", JOB) is not None:
        if time.monotonic() > deadline:
            raise OperatorError(f"The Job {JOB} of the release before was not deleted")
        await asyncio.sleep(poll_s)
    await kubectl.create([fresh_job(job, image)])
    deadline = time.monotonic() + CLUSTER.migration_s
    while time.monotonic() < deadline:
        now = await kubectl.get("job", JOB)
        for each in (now or {}).get("status", {}).get("conditions", ()):
            if each["status"] == "True" and each["type"] == "Complete":
                return
            if each["status"] == "True" and each["type"] == "Failed":
                why = each.get("message", "no reason")
                raise OperatorError(f"The migration failed ({why}); see kubectl logs job/{JOB}")
        await asyncio.sleep(poll_s)
    raise OperatorError(f"The migration did not end within {CLUSTER.migration_s} s")
