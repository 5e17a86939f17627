"""Plan reply: the steps of a change as the answer to `--plan`."""

from florin.ops.fleet.orders import Reply
from florin.ops.planning.rollout import RolloutStep


def format_plan(steps: tuple[RolloutStep, ...]) -> Reply:
    """Return a plan as text and as a document: the answer to `--plan`."""
    lines = [f"{number:>3}  {step}" for number, step in enumerate(steps, start=1)]
    document = {
        "plan": [
            {"verb": s.verb, "names": list(s.names), "release": s.mark.release if s.mark else None}
            for s in steps
        ]
    }
    return Reply("\n".join(lines) or "Nothing to do.", done=True, document=document)
