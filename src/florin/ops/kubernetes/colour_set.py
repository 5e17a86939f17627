"""Colour set: the objects of one colour, and the other colour made from them. Pure.

Every object with the label `florin/colour` belongs to a set: the API, the balancers in front of it,
their scaler, budgets and Service. The public Service selects the balancers of one set.
"""

from typing import Any, Literal, cast

from florin.ops.kubernetes.kubectl import Manifest

Colour = Literal["blue", "green"]
LABEL, GENERATION = "florin/colour", "florin/generation"
KINDS = "deployments,services,horizontalpodautoscalers,poddisruptionbudgets"
API, BALANCER = "florin-api", "florin-balancer"
CONTAINER = "florin"
_SERVER_MADE = (
    *("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"),
    "ownerReferences",
)


def other_colour(colour: Colour) -> Colour:
    return "green" if colour == "blue" else "blue"


def recoloured_set(
    objects: list[Manifest], colour: Colour, image: str, generation: int
) -> list[Manifest]:
    """Return the objects of the other set, to be created, with another image of Florin."""
    made: list[Manifest] = []
    for each in objects:
        new = _recolour({**each, "metadata": dict(each["metadata"])}, colour)
        new.pop("status", None)
        metadata = {k: v for k, v in new["metadata"].items() if k not in _SERVER_MADE}
        metadata["annotations"] = {GENERATION: str(generation)}
        new["metadata"] = metadata
        if new["kind"] == "Service":
            new["spec"].pop("clusterIPs", None)
            if new["spec"].get("clusterIP") != "None":
                new["spec"].pop("clusterIP", None)
        if new["kind"] == "Deployment":
            set_image(new, image)
        made.append(new)
    return made


def set_image(deployment: Manifest, image: str) -> None:
    """Set the image of Florin's containers; that of HAProxy stays."""
    pod = deployment["spec"]["template"]["spec"]
    before = _images(pod)
    for each in [*pod.get("initContainers", ()), *pod["containers"]]:
        if each["image"] in before or each["name"] in (CONTAINER, "certificate"):
            each["image"] = image


def image_of(deployment: Manifest) -> str:
    """Return the image of Florin in a Deployment or a Job."""
    [found] = _images(deployment["spec"]["template"]["spec"])
    return found


def image_patch(image: str, generation: int) -> Manifest:
    """Return the patch that replaces the pods of a Deployment."""
    pod = {"containers": [{"name": CONTAINER, "image": image}]}
    marks = {GENERATION: str(generation)}
    template = {"metadata": {"annotations": marks}, "spec": pod}
    return {"metadata": {"annotations": marks}, "spec": {"template": template}}


def fresh_job(job: Manifest, image: str) -> Manifest:
    """Return a Job like one that ran, to be created again with another image."""
    metadata = {k: v for k, v in job["metadata"].items() if k not in _SERVER_MADE}
    labels = {k: v for k, v in metadata.get("labels", {}).items() if not _by_controller(k)}
    spec = {k: v for k, v in job["spec"].items() if k != "selector"}
    template = spec["template"]
    marks = template.get("metadata", {}).get("labels", {}).items()
    kept = {k: v for k, v in marks if not _by_controller(k)}
    spec["template"] = {**template, "metadata": {"labels": kept}}
    made = {"apiVersion": job["apiVersion"], "kind": "Job", "spec": spec}
    made["metadata"] = {"name": metadata["name"], "labels": labels}
    set_image(made, image)
    return made


def rollout_state(deployment: Manifest) -> tuple[bool, str]:
    """Return whether every pod is new and available, and why it never will be (else empty)."""
    spec, status = deployment["spec"], deployment.get("status", {})
    for each in status.get("conditions", ()):
        if each["type"] == "Progressing" and each.get("reason") == "ProgressDeadlineExceeded":
            return False, each.get("message", "no progress in time")
    wanted = spec.get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    updated = status.get("updatedReplicas", 0)
    there = status.get("replicas", 0)
    return seen and wanted == updated == there == status.get("availableReplicas", 0), ""


def generation_of(manifest: Manifest) -> int:
    said = manifest["metadata"].get("annotations", {}).get(GENERATION, "0")
    return int(said) if said.isdecimal() else 0


def _images(pod: dict[str, Any]) -> set[str]:
    return {each["image"] for each in pod["containers"] if each["name"] == CONTAINER}


def _by_controller(label: str) -> bool:
    return label.endswith(("controller-uid", "job-name"))


def _recolour(value: Any, colour: Colour) -> Any:
    """Return a copy in which names and labels of the other colour are those of this one."""
    before = other_colour(colour)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {key: _recolour(each, colour) for key, each in fields.items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_recolour(each, colour) for each in items]
    if value == before:
        return colour
    if isinstance(value, str) and value.endswith(f"-{before}"):
        return f"{value.removesuffix(before)}{colour}"
    return value
