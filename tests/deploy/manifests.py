"""Manifests: the overlays as plain kubectl renders them, and what static schemas do not find."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

CHECKOUT = Path(__file__).parents[2]
KUBERNETES = CHECKOUT / "deploy" / "kubernetes"
SCHEMAS = Path(__file__).parent / "schemas"
OVERLAYS = ("small", "production")
KUBECTL = Path(sys.executable).with_name("kubectl")
_CUSTOM = {
    "Cluster": "postgresql.cnpg.io_cluster_v1",
    "ScaledObject": "keda.sh_scaledobject_v1alpha1",
    "ServiceMonitor": "monitoring.coreos.com_servicemonitor_v1",
}
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")


@cache
def _rendered(overlay: str) -> str:
    said = subprocess.run(
        [str(KUBECTL), "kustomize", str(KUBERNETES / "overlays" / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


def rendered(overlay: str) -> list[dict[str, Any]]:
    """Return the objects of an overlay, each time as new values."""
    return list(yaml.load_all(_rendered(overlay), Loader=yaml.CSafeLoader))


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] in kinds]


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every pod specification with the name of what makes it."""
    for each in of_kind(objects, "Deployment", "Job"):
        yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def schema_errors(obj: dict[str, Any]) -> list[str]:
    """Return what the schema of its kind says; the alerts have none, promtool checks those."""
    kind = obj["kind"]
    if kind == "PrometheusRule":
        return []
    if kind in _CUSTOM:
        schema = json.loads((SCHEMAS / f"{_CUSTOM[kind]}.json").read_text("utf-8"))
    else:
        core = json.loads((SCHEMAS / "core-1.37.json").read_text("utf-8"))
        schema = {"$ref": f"#/$defs/{core['kinds'][kind]}", "$defs": core["$defs"]}
    validator: Any = jsonschema.Draft202012Validator(schema)
    found = validator.iter_errors(obj)
    return [f"{each.json_path}: {each.message[:200]}" for each in found]


def mistakes(objects: list[dict[str, Any]]) -> list[str]:
    """Return the mistakes that a real API server or kubelet refuses and schemas accept."""
    found: list[str] = []
    for each in of_kind(objects, "Deployment"):
        found += _deployment_mistakes(each["metadata"]["name"], each["spec"])
    for each in of_kind(objects, "HorizontalPodAutoscaler"):
        if each["spec"]["minReplicas"] > each["spec"]["maxReplicas"]:
            found.append("minReplicas is above maxReplicas")
    for each in of_kind(objects, "ScaledObject"):
        if each["spec"]["minReplicaCount"] > each["spec"]["maxReplicaCount"]:
            found.append("minReplicaCount is above maxReplicaCount")
    for name, pod in pods(objects):
        found += _pod_mistakes(name, pod)
    return found


def _deployment_mistakes(name: str, spec: dict[str, Any]) -> Iterator[str]:
    update = spec["strategy"].get("rollingUpdate", {"maxSurge": 1})
    if update.get("maxSurge") == 0 and update.get("maxUnavailable") == 0:
        yield f"{name}: neither a pod more nor a pod fewer"
    labels = spec["template"]["metadata"]["labels"].items()
    if not spec["selector"]["matchLabels"].items() <= labels:
        yield f"{name}: the selector does not select its pods"


def _pod_mistakes(name: str, pod: dict[str, Any]) -> Iterator[str]:
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{name}: has the token of its account"
    if pod["securityContext"].get("runAsNonRoot") is not True:
        yield f"{name}: may run as root"
    grace = pod.get("terminationGracePeriodSeconds", 30)
    for each in containers(pod):
        pause = each.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pause >= grace:
            yield f"{name}: sleeps for the whole of its grace"
        yield from _container_mistakes(name, each)


def _container_mistakes(name: str, container: dict[str, Any]) -> Iterator[str]:
    for port in container.get("ports", ()):
        if not _PORT_NAME.fullmatch(port["name"]):
            yield f"{name}: {port['name']} is no name of a port"
    rights = container.get("securityContext", {})
    if rights.get("privileged") or rights.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: is privileged, or may become so"
    if rights.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name}: has capabilities"
    if rights.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: may write to its image"
    for mount in container.get("volumeMounts", ()):
        if re.match(r"(/var)?/run/secrets", mount["mountPath"]):
            yield f"{name}: {mount['mountPath']} is the folder of Kubernetes' token"
