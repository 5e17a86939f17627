"""Command: what `florin deploy` and `florin rollback` do with `--target kubernetes`."""

import asyncio
import os
from typing import Any

import msgspec

from florin.ops.fleet import audit_log
from florin.ops.kubernetes.cluster_deployment import ClusterDeployment, ClusterOrder
from florin.ops.kubernetes.kubectl import KubectlCommand
from florin.ops.system.console import OperatorError, say


def deploy_in_cluster(image: str, options: dict[str, Any], *, back: bool, as_json: bool) -> None:
    """Deploy an image, or return to the one before (`back`), in kubectl's current namespace."""
    if options.pop("verify", False):
        raise OperatorError("--verify: its load does not run in a cluster; deploy without it.")
    only_plan = options.pop("plan", False)
    options.pop("batch", None)  # the Deployment says how many pods are replaced at a time
    order = ClusterOrder(image=image or None, who=audit_log.operator_name(os.environ), **options)
    deployment = ClusterDeployment(KubectlCommand(), say)
    if only_plan:
        steps = asyncio.run(deployment.plan(order))
        text = "\n".join([*steps, "Nothing was changed."])
        print(msgspec.json.encode({"steps": steps}).decode() if as_json else text)
        return
    done = asyncio.run(deployment.rollback(order) if back else deployment.deploy(order))
    print(msgspec.json.encode({"done": done}).decode() if as_json else done)
