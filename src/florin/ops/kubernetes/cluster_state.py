"""Cluster state: the sets of the API in a cluster, and which of them serves."""

from dataclasses import dataclass

from florin.ops.kubernetes import colour_set
from florin.ops.kubernetes.colour_set import API, LABEL, Colour
from florin.ops.kubernetes.kubectl import KubectlCommand, Manifest
from florin.ops.planning.rollout import ObservedProcess, ReleaseMark
from florin.ops.system.console import OperatorError

SERVICE = "florin"  # the public one


@dataclass(frozen=True, slots=True)
class ClusterState:
    """The Service, the colour that it selects, and the Deployment of the API of each set."""

    service: Manifest
    serving: Colour
    sets: dict[Colour, Manifest]

    @property
    def image(self) -> str:
        return colour_set.image_of(self.sets[self.serving])

    @property
    def generation(self) -> int:
        return max(colour_set.generation_of(each) for each in self.sets.values())

    def crew(self) -> tuple[ObservedProcess, ...]:
        """Return the sets as the planner sees processes."""
        return tuple(
            ObservedProcess(
                name=set_name(colour),
                mark=mark_of(each),
                ready=colour_set.rollout_state(each)[0],
                admitted=colour == self.serving,
            )
            for colour, each in self.sets.items()
        )


def set_name(colour: Colour) -> str:
    return f"api-{colour}"


def mark_of(deployment: Manifest) -> ReleaseMark:
    return ReleaseMark(colour_set.image_of(deployment), colour_set.generation_of(deployment))


async def read_cluster(kubectl: KubectlCommand) -> ClusterState:
    """Read the cluster. Raises OperatorError if Florin is not installed there."""
    service = await kubectl.get("service", SERVICE)
    if service is None:
        raise OperatorError(
            f"There is no Service {SERVICE} in kubectl's current namespace; install with kubectl"
            " apply -k deploy/kubernetes/overlays/NAME, or choose another context."
        )
    sets: dict[Colour, Manifest] = {}
    for each in await kubectl.find("deployments", f"app.kubernetes.io/name={API}"):
        colour = each["metadata"]["labels"].get(LABEL)
        if colour in ("blue", "green"):
            sets[colour] = each
    live = service["spec"]["selector"].get(LABEL)
    if live not in sets:
        raise OperatorError(f"The Service {SERVICE} selects {live}, and no such set exists.")
    return ClusterState(service, live, sets)
