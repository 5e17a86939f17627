"""Deployments in a cluster: the real kubectl against an API server of the tests (no cluster).

What kubectl sends and how a deployment reacts is real; the controllers are imitated. No request of
a client is sent: what a switch does to those was not measured with these tests.
"""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from florin.cli import main
from florin.ops.kubernetes.cluster_deployment import ClusterDeployment, ClusterOrder
from florin.ops.kubernetes.colour_set import image_of, recoloured_set
from florin.ops.kubernetes.kubectl import KubectlCommand
from florin.ops.system.console import OperatorError
from tests.deploy.manifests import KUBECTL, of_kind, rendered
from tests.support.cluster_api import Cluster, serve_cluster

OLD, NEW = "registry.example.com/florin:1", "registry.example.com/florin:2"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Cluster]:
    """A cluster with the overlay `production`, and kubectl's settings for it."""
    made = Cluster()
    kinds = (
        *("Deployment", "Service", "Job"),
        *("HorizontalPodAutoscaler", "PodDisruptionBudget"),
    )
    for each in of_kind(rendered("production"), *kinds):
        made.add(each)
    with serve_cluster(made) as url:
        (tmp_path / "config").write_text(
            f"""\
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "{url}"}}}}]
contexts: [{{name: here, context: {{cluster: here, user: me, namespace: florin}}}}]
users: [{{name: me, user: {{}}}}]
current-context: here
""",
            "utf-8",
        )
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("HOME", str(tmp_path))
        yield made


@pytest.fixture
def deployment() -> ClusterDeployment:
    said: list[str] = []
    return ClusterDeployment(
        KubectlCommand(str(KUBECTL)), said.append, poll_s=0.02, within_s=20, done=said
    )


def order(image: str | None = NEW, **more: Any) -> ClusterOrder:
    return ClusterOrder(image=image, soak_s=0.0, who="alice", **more)


def images(cluster: Cluster) -> dict[str, str]:
    return {
        name: image_of(obj)
        for (plural, name), obj in cluster.objects.items()
        if plural == "deployments" and "balancer" not in name
    }


async def test_rolling_migrates_first_and_then_replaces_every_process(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    said = await deployment.deploy(order())
    assert NEW in said
    assert OLD in said
    assert set(images(cluster).values()) == {NEW}
    changes = [each for each in cluster.requests if "florin-deploy" not in each]
    assert changes == [
        "delete jobs/florin-migrate",
        "create Job/florin-migrate",
        "patch deployments/florin-api-blue",
        "patch deployments/florin-worker",
        "patch deployments/florin-operator",
        "patch services/florin",
    ]
    assert image_of(cluster.objects["jobs", "florin-migrate"]) == NEW
    assert cluster.selected == []
    assert ("configmaps", "florin-deploy") not in cluster.objects


async def test_rolling_is_undone_when_the_pods_never_become_ready(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    cluster.bad_pods.add(NEW)
    with pytest.raises(OperatorError, match=r"timed out progressing.*was undone"):
        await deployment.deploy(order())
    assert set(images(cluster).values()) == {OLD}
    assert "patch deployments/florin-worker" not in cluster.requests
    assert ("configmaps", "florin-deploy") not in cluster.objects


async def test_nothing_changes_when_the_migration_fails(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    cluster.bad_jobs.add(NEW)
    with pytest.raises(OperatorError, match=r"The migration failed \(BackOff\)"):
        await deployment.deploy(order(blue_green=True))
    assert set(images(cluster).values()) == {OLD}
    assert not any("patch" in each for each in cluster.requests)


async def test_blue_green_switches_once_when_the_new_set_is_ready(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    await deployment.deploy(order(blue_green=True))
    assert cluster.selected == ["green"]
    assert cluster.ready_at_switch == [True]
    assert images(cluster) == {
        "florin-api-blue": OLD,
        "florin-api-green": NEW,
        "florin-worker": NEW,
        "florin-operator": NEW,
    }
    [balancer] = cluster.objects["deployments", "florin-balancer-green"]["spec"]["template"][
        "spec"
    ]["containers"]
    assert {"name": "FLORIN_CLUSTER_API", "value": "florin-api-green"} in balancer["env"]
    assert balancer["image"] == "haproxy:3.0"
    green = [name for _, name in cluster.objects if name.endswith("-green")]
    blue = [name for _, name in cluster.objects if name.endswith("-blue")]
    assert sorted(green) == sorted(name.replace("blue", "green") for name in blue)


async def test_after_blue_green_a_rollback_is_one_switch(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    await deployment.deploy(order(blue_green=True))
    before = len(cluster.requests)
    await deployment.rollback(order(None))
    assert cluster.selected == ["green", "blue"]
    changes = [each for each in cluster.requests[before:] if "florin-deploy" not in each]
    assert changes[0] == "patch services/florin"
    assert not any("florin-api" in each or "Job" in each for each in changes)
    assert images(cluster)["florin-worker"] == OLD


@pytest.mark.slow
async def test_blue_green_again_replaces_the_kept_set(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    await deployment.deploy(order(blue_green=True))
    third = "registry.example.com/florin:3"
    await deployment.deploy(order(third, blue_green=True))
    assert cluster.selected == ["green", "blue"]
    assert images(cluster)["florin-api-blue"] == third
    assert images(cluster)["florin-api-green"] == NEW


async def test_keep_0_removes_the_replaced_set(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    await deployment.deploy(order(blue_green=True, keep=False))
    assert not [name for _, name in cluster.objects if name.endswith("-blue")]
    assert images(cluster)["florin-api-green"] == NEW


async def test_blue_green_is_undone_when_the_new_set_never_becomes_ready(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    cluster.bad_pods.add(NEW)
    with pytest.raises(OperatorError, match="was undone"):
        await deployment.deploy(order(blue_green=True))
    assert cluster.selected == []
    assert not [name for _, name in cluster.objects if name.endswith("-green")]
    assert set(images(cluster).values()) == {OLD}


async def test_blue_green_is_undone_when_a_pod_does_not_pass_its_check(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    cluster.answers = lambda pod, url: (
        (404, "") if pod["metadata"]["labels"]["florin/colour"] == "green" else (200, url)
    )
    with pytest.raises(OperatorError, match="/health/ready answered 404"):
        await deployment.deploy(order(blue_green=True))
    assert cluster.selected == []
    assert set(images(cluster).values()) == {OLD}


def _metrics(status: int, requests: int) -> str:
    return (
        'florin_http_requests_total{method="POST",route="/api/v1/redemptions",'
        f'status="{status}"}} {requests}\n'
    )


@pytest.mark.slow
@pytest.mark.parametrize("blue_green", [True, False])
async def test_it_switches_back_when_the_new_pods_answer_worse(
    cluster: Cluster, deployment: ClusterDeployment, blue_green: bool
) -> None:
    asked = {"new": 0}

    def answers(pod: dict[str, Any], url: str) -> tuple[int, str]:
        if not url.endswith("/metrics"):
            return 200, ""
        if pod["spec"]["containers"][0]["image"] == OLD:
            return 200, _metrics(201, 1000)
        asked["new"] += 1
        return 200, _metrics(500, 100 * asked["new"])

    cluster.answers = answers
    wanted = ClusterOrder(image=NEW, soak_s=3.0, who="alice", blue_green=blue_green)
    with pytest.raises(OperatorError, match=r"requests failed.*undone"):
        await deployment.deploy(wanted)
    assert cluster.selected == (["green", "blue"] if blue_green else [])
    assert set(images(cluster).values()) == {OLD}
    assert "patch deployments/florin-worker" not in cluster.requests


async def test_it_switches_back_when_the_workers_do_not_start(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    cluster.stuck.add(("florin-worker", NEW))
    with pytest.raises(OperatorError, match="florin-worker did not become available"):
        await deployment.deploy(order(blue_green=True))
    assert cluster.selected == ["green", "blue"]
    assert set(images(cluster).values()) == {OLD}


async def test_two_at_once_are_refused_and_say_who_deploys(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    lock: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "florin-deploy"},
        "data": {"who": "bob", "image": "x:1"},
        "spec": {},
    }
    cluster.add(lock)
    with pytest.raises(OperatorError, match=r"bob deploys x:1 there.*kubectl delete configmap"):
        await deployment.deploy(order())
    assert ("configmaps", "florin-deploy") in cluster.objects
    assert set(images(cluster).values()) == {OLD}


async def test_rollback_after_rolling_deploys_the_image_before(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    with pytest.raises(OperatorError, match="No release before is known"):
        await deployment.rollback(order(None))
    await deployment.deploy(order())
    await deployment.rollback(order(None))
    assert set(images(cluster).values()) == {OLD}


async def test_the_plan_changes_nothing(cluster: Cluster, deployment: ClusterDeployment) -> None:
    steps = await deployment.plan(order(blue_green=True))
    assert steps[1:5] == [
        f"start api-green of {NEW}",
        "check api-green",
        "switch to api-green",
        "watch api-green",
    ]
    assert cluster.requests == []


@pytest.mark.slow
def test_the_command_deploys_and_says_what_it_does_not_do(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", f"{KUBECTL.parent}:{os.environ['PATH']}")
    words = ["deploy", "--target", "kubernetes"]
    assert main([*words, "--release", NEW, "--soak", "0s", "--blue-green", "--keep", "0s"]) == 0
    assert f"{NEW} serves in api-green" in capfd.readouterr().out
    assert cluster.selected == ["green"]
    assert main(["rollback", "--target", "kubernetes", "--plan", "--json"]) == 0
    steps = json.loads(capfd.readouterr().out)["steps"]
    assert steps[0] == f"start api-green of {OLD}"
    for wrong, words_of in (
        ([], "needs an image"),
        (["--release", NEW, "--verify"], "does not run in a cluster"),
        (["--release", NEW, "--blue-green", "--keep", "5m"], "stays until the next deployment"),
    ):
        assert main([*words, *wrong]) != 0
        assert words_of in capfd.readouterr().err


async def test_a_namespace_without_florin_is_named(
    cluster: Cluster, deployment: ClusterDeployment
) -> None:
    cluster.objects.clear()
    with pytest.raises(OperatorError, match="no Service florin in kubectl's current namespace"):
        await deployment.deploy(order())


def test_a_copied_set_keeps_nothing_of_the_server() -> None:
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "florin-x-blue", "uid": "1", "resourceVersion": "7"},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "selector": {"c": "blue"}},
        "status": {"loadBalancer": {}},
    }
    [made] = recoloured_set([service], "green", NEW, 3)
    assert made == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "florin-x-green", "annotations": {"florin/generation": "3"}},
        "spec": {"selector": {"c": "green"}},
    }
