"""Release command: deploy to an engine's containers or roll back, and print how it ended."""

import os
from typing import Any

import msgspec

from florin.ops.containers import compose_deployment, compose_project, swarm_deployment
from florin.ops.containers.release_order import ReleaseOrder
from florin.ops.fleet.orders import OrderUndone
from florin.ops.system.console import OperatorError, say


def change_release(
    target: str, image: str, options: dict[str, Any], *, back: bool, as_json: bool
) -> None:
    """Deploy or roll back on an engine, and print how it ended."""
    try:
        if target == "swarm":
            order = ReleaseOrder(image=image, **options)
            outcome = swarm_deployment.run_deployment(order, say, back=back)
        else:
            project = compose_project.find_project(os.environ.get("FLORIN_CHECKOUT"))
            order = ReleaseOrder(image=image, tls=project.tls, **options)
            outcome = compose_deployment.run_deployment(project, order, say, back=back)
    except OrderUndone as undone:
        if as_json:
            print(msgspec.json.encode(undone.document).decode())
        raise OperatorError(str(undone)) from None
    if as_json:
        print(msgspec.json.encode(outcome.document()).decode())
    else:
        print("\n".join([*outcome.steps, "Nothing was changed."]) if order.plan else str(outcome))
