"""Kubernetes: the overlays are valid, and agree with the settings, the image and the commands.

No cluster runs them here: what a server, a controller or a node does with them is not shown.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from florin.cli.commands import app
from florin.kit.settings import variable_names
from florin.ops.haproxy.program import find_haproxy
from tests.deploy.manifests import (
    CHECKOUT,
    KUBERNETES,
    OVERLAYS,
    containers,
    mistakes,
    of_kind,
    pods,
    rendered,
    schema_errors,
)
from tests.support import certificate

_FROM_KUBERNETES = {"FLORIN_CLUSTER_NAMESPACE", "FLORIN_CLUSTER_API"}  # HAProxy's configuration
_WRITTEN = {"timing.yaml", "timing.env", "haproxy.cfg", "rules.yaml", "monitors.yaml"}
_TIMES = re.compile(
    r"\b(periodSeconds|timeoutSeconds|failureThreshold|terminationGracePeriodSeconds|seconds|"
    r"minReadySeconds|progressDeadlineSeconds|activeDeadlineSeconds|pollingInterval|cooldownPeriod|"
    r"initialDelaySeconds|interval|scrapeTimeout)\b"
)


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env", ())}


def settings_of(objects: list[dict[str, Any]]) -> dict[str, str]:
    [found] = [
        each
        for each in of_kind(objects, "ConfigMap")
        if each["metadata"]["name"].startswith("florin-settings")
    ]
    return found["data"]


def haproxy_of(objects: list[dict[str, Any]]) -> str:
    [found] = [
        each["data"]["haproxy.cfg"]
        for each in of_kind(objects, "ConfigMap")
        if "haproxy.cfg" in each["data"]
    ]
    return found


def test_the_written_files_are_what_their_sources_say() -> None:
    said = subprocess.run(
        [sys.executable, str(KUBERNETES / "generate.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_fits_the_schema_of_its_kind(overlay: str) -> None:
    objects = rendered(overlay)
    assert len(objects) > 20
    wrong = {each["metadata"]["name"]: schema_errors(each) for each in objects}
    assert {name: errors for name, errors in wrong.items() if errors} == {}
    assert {each["metadata"].get("namespace") for each in objects} == {"florin"}


def test_production_has_every_part() -> None:
    kinds = {each["kind"] for each in rendered("production")}
    assert kinds >= {"Cluster", "ScaledObject", "ServiceMonitor", "PrometheusRule", "NetworkPolicy"}
    names = {name for name, _ in pods(rendered("production"))}
    assert names == {
        *("florin-api-blue", "florin-balancer-blue", "florin-worker", "florin-operator"),
        "florin-migrate",
    }


def test_a_misspelt_field_is_found() -> None:
    for kind, field in (
        ("Deployment", "replica"),
        ("Cluster", "instance"),
        ("ScaledObject", "pollingIntervall"),
        ("ServiceMonitor", "endpoint"),
        ("NetworkPolicy", "egres"),
    ):
        each = of_kind(rendered("production"), kind)[0]
        each["spec"][field] = 2
        assert schema_errors(each), kind


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_none_of_the_mistakes_that_schemas_accept_is_made(overlay: str) -> None:
    assert mistakes(rendered(overlay)) == []


def _api(objects: list[dict[str, Any]]) -> dict[str, Any]:
    [found] = [o for o in of_kind(objects, "Deployment") if "api" in o["metadata"]["name"]]
    return found["spec"]


def _pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return _api(objects)["template"]["spec"]


MISTAKES: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "neither a pod more": lambda o: _api(o)["strategy"]["rollingUpdate"].update(maxSurge=0),
    "above maxReplicas": lambda o: of_kind(o, "HorizontalPodAutoscaler")[0]["spec"].update(
        minReplicas=99
    ),
    "above maxReplicaCount": lambda o: of_kind(o, "ScaledObject")[0]["spec"].update(
        minReplicaCount=99
    ),
    "does not select": lambda o: _api(o)["selector"]["matchLabels"].update(tier="api"),
    "the whole of its grace": lambda o: _pod(o).update(terminationGracePeriodSeconds=5),
    "no name of a port": lambda o: _pod(o)["containers"][0]["ports"][0].update(name="http_port"),
    "is privileged": lambda o: _pod(o)["containers"][0]["securityContext"].update(privileged=True),
    "the token": lambda o: _pod(o).pop("automountServiceAccountToken"),
    "may run as root": lambda o: _pod(o)["securityContext"].pop("runAsNonRoot"),
    "has capabilities": lambda o: _pod(o)["containers"][0]["securityContext"].pop("capabilities"),
    "write to its image": lambda o: _pod(o)["containers"][0]["securityContext"].update(
        readOnlyRootFilesystem=False
    ),
    "Kubernetes' token": lambda o: _pod(o)["containers"][0]["volumeMounts"][0].update(
        mountPath="/run/secrets"
    ),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_each_of_those_mistakes_is_found(words: str) -> None:
    objects = rendered("production")
    MISTAKES[words](objects)
    assert any(words in each for each in mistakes(objects))
    if words not in ("may run as root", "the token", "has capabilities"):  # these drop a field
        assert [error for each in objects for error in schema_errors(each)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting(overlay: str) -> None:
    objects = rendered(overlay)
    known = {*variable_names(), *(f"{name}_FILE" for name in variable_names())}
    assert settings_of(objects).keys() <= known
    for name, pod in pods(objects):
        for each in containers(pod):
            given = variables(each).keys()
            if each["image"].startswith("haproxy"):
                assert given == _FROM_KUBERNETES
                assert all(f"${{{one}}}" in haproxy_of(objects) for one in given)
            else:
                assert given <= known, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_file_is_mounted_where_its_variable_says(overlay: str) -> None:
    for name, pod in pods(rendered(overlay)):
        volumes = {each["name"]: each for each in pod.get("volumes", ())}
        for each in containers(pod):
            mounts = {
                one["mountPath"]: volumes[one["name"]] for one in each.get("volumeMounts", ())
            }
            for variable, path in variables(each).items():
                if not variable.endswith("_FILE"):
                    continue
                folder, _, key = path.rpartition("/")
                secret = mounts[folder]["secret"]
                items = [item["path"] for item in secret.get("items", ())]
                assert not items or key in items, (name, variable)
                assert key == variable.removesuffix("_FILE")
                assert secret["defaultMode"] == 0o440


def test_only_the_migration_gets_the_owner() -> None:
    for name, pod in pods(rendered("production")):
        has = any("DATABASE_URL_OWNER_FILE" in variables(each) for each in containers(pod))
        secrets = {each.get("secret", {}).get("secretName") for each in pod.get("volumes", ())}
        assert has == ("florin-owner" in secrets) == (name == "florin-migrate")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_and_probes_are_those_of_the_processes(overlay: str) -> None:
    objects = rendered(overlay)
    settings, haproxy = settings_of(objects), haproxy_of(objects)
    numbers = {"http": settings["FLORIN_PORT"], "operations": settings["FLORIN_OPERATIONS_PORT"]}
    for name, pod in pods(objects):
        for each in containers(pod):
            ports = {port["name"]: port["containerPort"] for port in each.get("ports", ())}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = each.get(kind, {}).get("httpGet", {"port": next(iter(ports), None)})
                assert asked["port"] in ports or not ports, (name, kind)
                if each["image"].startswith("haproxy") and kind in each:
                    assert f"{{ path {asked['path']} }}" in haproxy
                elif kind in each:
                    ready = "ready" if kind == "readinessProbe" else "live"
                    assert asked["path"] == f"/health/{ready}"
            for port, number in ports.items():
                if each["image"].startswith("haproxy"):
                    assert f"bind 0.0.0.0:{number}" in haproxy
                else:
                    assert str(number) == numbers[port]
    named = {
        port["name"]
        for _, pod in pods(objects)
        for each in containers(pod)
        for port in each.get("ports", ())
    }
    for service in of_kind(objects, "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_selects_pods(overlay: str) -> None:
    objects = rendered(overlay)
    labels = [
        each["spec"]["template"]["metadata"]["labels"].items()
        for each in of_kind(objects, "Deployment", "Job")
    ]
    for each in of_kind(objects, "Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec = each["spec"]
        chosen = spec.get("podSelector", spec.get("selector"))
        wanted = chosen.get("matchLabels", {} if "matchExpressions" in chosen else chosen)
        if "cnpg.io/cluster" not in wanted:
            assert any(wanted.items() <= one for one in labels), each["metadata"]["name"]
    scalers = [
        each["spec"]["scaleTargetRef"]["name"]
        for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    ]
    for deployment in of_kind(objects, "Deployment"):
        # What a scaler owns has no number of its own: each apply would reset it.
        owned = deployment["metadata"]["name"] in scalers
        assert ("replicas" in deployment["spec"]) != owned, deployment["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_instances_may_fetch_the_page_of_the_operator_process(overlay: str) -> None:
    objects = rendered(overlay)
    url = urlsplit(settings_of(objects)["FLORIN_OPERATOR_URL"])
    [service] = [o for o in of_kind(objects, "Service") if o["metadata"]["name"] == url.hostname]
    [port] = [each for each in service["spec"]["ports"] if each["port"] == url.port]
    number = settings_of(objects)["FLORIN_OPERATIONS_PORT"]
    assert port["targetPort"] == "operations"
    assert str(port["port"]) == number, "egress rules count the port of the pod"
    api, operator = (
        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": name}}}
        for name in ("florin-api", "florin-operator")
    )
    assert service["spec"]["selector"] == operator["podSelector"]["matchLabels"]
    policies = [each["spec"] for each in of_kind(objects, "NetworkPolicy")]
    out = [each for each in policies if each["podSelector"] == api["podSelector"]]
    assert {"to": [operator], "ports": [{"protocol": "TCP", "port": int(number)}]} in [
        rule for each in out for rule in each.get("egress", ())
    ]
    inward = [each for each in policies if each["podSelector"] == operator["podSelector"]]
    assert {"from": [api], "ports": [{"protocol": "TCP", "port": "operations"}]} in [
        rule for each in inward for rule in each.get("ingress", ())
    ]


def test_images_are_ours_and_haproxy_and_the_arguments_are_commands() -> None:
    known = {command.name for command in app.registered_commands}
    for name, pod in pods(rendered("production")):
        for each in containers(pod):
            assert re.fullmatch(r"(registry\.example\.com/florin|haproxy):[\w.]+", each["image"])
            command = each["args"][0]
            assert command == "haproxy" or command in known, name


def test_the_alerts_are_those_of_prometheus() -> None:
    [rule] = of_kind(rendered("production"), "PrometheusRule")
    file = CHECKOUT / "deploy" / "prometheus" / "rules.yaml"
    assert rule["spec"] == yaml.safe_load(file.read_text("utf-8"))
    [monitor] = of_kind(rendered("production"), "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    port = monitor["spec"]["endpoints"][0]["port"]
    jobs = {
        each["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        for each in of_kind(rendered("production"), "Service")
        if wanted <= each["metadata"]["labels"].items()
        and port in {one["name"] for one in each["spec"]["ports"]}
    }
    assert jobs == {"florin-api", "florin-balancer", "florin-operator", "florin-worker"}


def test_periods_and_limits_are_written_in_one_place() -> None:
    """A number by hand would be one that the model does not know."""
    files = [path for path in KUBERNETES.rglob("*.yaml") if path.name not in _WRITTEN]
    assert len(files) > 12
    for path in files:
        lines = path.read_text("utf-8").splitlines()
        own = [line for line in lines if _TIMES.search(line.partition("#")[0])]
        allowed = [line for line in own if "stabilizationWindowSeconds: 0" in line]
        allowed += [line for line in own if "fallback: {failureThreshold: 3," in line]
        assert own == allowed, path


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_haproxy_accepts_its_configuration(overlay: str, tmp_path: Path) -> None:
    text = haproxy_of(rendered(overlay))
    made = certificate.make(tmp_path, "cards.example.com")
    (tmp_path / "certificate.pem.key").write_bytes(made.key.read_bytes())
    text = text.replace("/etc/haproxy/tls", str(tmp_path))
    (tmp_path / "haproxy.cfg").write_text(text, "utf-8")
    said = subprocess.run(
        [str(find_haproxy().path), "-c", "-f", str(tmp_path / "haproxy.cfg")],
        env={"FLORIN_CLUSTER_API": "florin-api-blue", "FLORIN_CLUSTER_NAMESPACE": "florin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "WARNING" not in said.stderr, said.stderr
