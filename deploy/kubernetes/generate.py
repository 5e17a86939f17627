"""Generate: write what follows from the timing model, HAProxy's configuration and the alerts.

Run it after a change of one of them: python deploy/kubernetes/generate.py. Tests fail when a file
differs from what this writes.
"""
# ruff: noqa: INP001 -- this folder is no package

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from florin.ops.fleet.cluster_timing import CLUSTER, ClusterTiming
from florin.ops.fleet.timing import DEFAULT, Timing
from florin.ops.haproxy.config import format_seconds, render_config
from florin.ops.haproxy.server_slots import BalancerState
from florin.ops.haproxy.settings import BalancerSettings

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus" / "rules.yaml"
HTTP, HTTPS, OPERATIONS = 8080, 8443, 8404
CERTIFICATE = "/etc/haproxy/tls/certificate.pem"
FOLDER, RUNTIME = "/usr/local/etc/haproxy", "/var/run/haproxy"
_WRITTEN = "# Written by deploy/kubernetes/generate.py.\n"
_SERVERS = '"${FLORIN_CLUSTER_API}.${FLORIN_CLUSTER_NAMESPACE}.svc.cluster.local":8000'
_PROBES = """\
  http-request return status 200 if { path /live }
  http-request return status 503 if { path /ready } { nbsrv(roundrobin) eq 0 }
  http-request return status 200 if { path /ready }
  stats enable
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodBalancer(BalancerSettings):
    """A balancer in a container: its limit of open files is that of the container's engine."""

    def connections(self) -> int:
        return self.timing.connections


def haproxy_text(cluster: ClusterTiming, timing: Timing, *, tls: bool) -> str:
    """Return the configuration of the fleet's balancer, with servers by DNS instead of slots."""
    edge = PodBalancer(
        timing=timing,
        host="0.0.0.0",  # noqa: S104 -- in a pod; a NetworkPolicy says who reaches it
        port=HTTPS if tls else HTTP,
        operations_port=OPERATIONS,
        tls=tls,
        folder=Path(FOLDER),
        threads=2,
    )
    text = render_config(edge, BalancerState())
    first, panic = text.index("\nbackend leastconn"), text.index("\nbackend panic")
    text = text[:first] + text[panic:]
    kept = cluster.dns_kept_s
    resolvers = f"""\
resolvers cluster
  parse-resolv-conf
  accepted_payload_size 8192
  resolve_retries 3
  timeout resolve {format_seconds(cluster.dns_every_s)}
  timeout retry {format_seconds(cluster.dns_every_s)}
  hold valid {format_seconds(cluster.dns_every_s)}
  hold obsolete {format_seconds(kept)}
  hold nx {format_seconds(kept)}
  # A DNS that is away changes nothing: the probes say which instances serve.
  hold other 24h
  hold refused 24h
  hold timeout 24h

"""
    template = (
        f"  server-template s {timing.slots} {_SERVERS} resolvers cluster resolve-prefer ipv4"
    )
    template += " init-addr none"
    for old, new in (
        ("# Written by florin up; changes go over the socket and into this file.\n", _WRITTEN),
        ("unix@balancer.sock", f"unix@{RUNTIME}/balancer.sock"),
        (" expose-fd listeners", ""),
        ("bind 127.0.0.1:", "bind 0.0.0.0:"),
        ("  stats enable\n", _PROBES),
        (f"  use_backend %[str(algorithm),map({'algorithm.map'},roundrobin)]\n", ""),
        (" crt certificate.pem", f" crt {CERTIFICATE}"),
        ("  use_backend panic if", "  default_backend roundrobin\n  use_backend panic if"),
        ("defaults\n", resolvers + "defaults\n"),
    ):
        assert text.count(old) == 1 or (not tls and "certificate" in old), old
        text = text.replace(old, new)
    text = re.sub(r"(  server s\d+ \S+ check disabled\n)+", f"{template} check\n", text)
    return re.sub(r"(  server s\d+ \S+ disabled\n)+", f"{template}\n", text)


def _deployment(name: str, container: dict[str, Any], pod: dict[str, Any], **spec: Any) -> Any:
    pod = {**pod, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {**spec, "template": {"spec": pod}},
    }


def timing_documents(cluster: ClusterTiming) -> list[Any]:
    """Return the patches with every number of the base."""
    live = {
        "periodSeconds": cluster.live_every_s,
        "timeoutSeconds": cluster.live_timeout_s,
        "failureThreshold": cluster.live_failures,
    }
    start = {
        "periodSeconds": cluster.start_every_s,
        "timeoutSeconds": cluster.ready_timeout_s,
        "failureThreshold": cluster.start_failures,
    }
    ready = {
        "periodSeconds": cluster.ready_every_s,
        "timeoutSeconds": cluster.ready_timeout_s,
        "failureThreshold": cluster.ready_failures,
    }
    serving = {"startupProbe": start, "readinessProbe": ready, "livenessProbe": live}
    working = {"startupProbe": start, "livenessProbe": live}
    rollout = {
        "minReadySeconds": cluster.settle_s,
        "progressDeadlineSeconds": cluster.progress_s,
    }

    def pause(seconds: int) -> Any:
        return {"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}}

    return [
        _deployment(
            "florin-api-blue",
            {"name": "florin", **serving, **pause(cluster.prestop_s)},
            {"terminationGracePeriodSeconds": cluster.grace_s},
            **rollout,
        ),
        _deployment(
            "florin-balancer-blue",
            {"name": "haproxy", **serving, **pause(cluster.balancer_prestop_s)},
            {"terminationGracePeriodSeconds": cluster.balancer_grace_s},
            **rollout,
        ),
        _deployment(
            "florin-worker",
            {"name": "florin", **working},
            {"terminationGracePeriodSeconds": cluster.worker_grace_s},
            **rollout,
        ),
        _deployment(
            "florin-operator",
            {"name": "florin", **working},
            {"terminationGracePeriodSeconds": cluster.worker_grace_s},
            progressDeadlineSeconds=cluster.progress_s,
        ),
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "florin-migrate"},
            "spec": {"activeDeadlineSeconds": cluster.migration_s},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "florin-api-blue"},
            "spec": {
                "behavior": {
                    "scaleUp": {
                        "stabilizationWindowSeconds": 0,
                        "policies": [
                            {
                                "type": "Percent",
                                "value": 100,
                                "periodSeconds": cluster.scale_up_every_s,
                            }
                        ],
                    },
                    "scaleDown": {
                        "stabilizationWindowSeconds": cluster.scale_down_after_s,
                        "policies": [
                            {
                                "type": "Pods",
                                "value": 1,
                                "periodSeconds": cluster.scale_down_every_s,
                            }
                        ],
                    },
                }
            },
        },
    ]


def scaled_object_timing(cluster: ClusterTiming) -> list[Any]:
    """Return the patch with the period of the scaler."""
    return [
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "florin-worker"},
            "spec": {
                "pollingInterval": cluster.workers_every_s,
                "cooldownPeriod": cluster.scale_down_after_s,
            },
        }
    ]


def monitors(cluster: ClusterTiming) -> list[Any]:
    """Return what Prometheus scrapes: each process, and HAProxy."""
    scrape = {
        "interval": f"{cluster.scrape_every_s}s",
        "scrapeTimeout": f"{cluster.scrape_timeout_s}s",
    }

    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": {"name": "florin", "labels": {"app.kubernetes.io/part-of": "florin"}},
            "spec": {
                "jobLabel": "app.kubernetes.io/name",  # alerts ask for this name
                "selector": {"matchLabels": {"app.kubernetes.io/part-of": "florin"}},
                "endpoints": [{"port": "operations", "path": "/metrics", **scrape}],
            },
        }
    ]


def rules() -> list[Any]:
    """Return the alerts of deploy/prometheus as an object of the Prometheus operator."""
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "florin", "labels": {"app.kubernetes.io/part-of": "florin"}},
            "spec": yaml.safe_load(RULES.read_text("utf-8")),
        }
    ]


def _text(documents: list[Any]) -> str:
    return _WRITTEN + yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=False, width=110)


def rendered(cluster: ClusterTiming = CLUSTER, timing: Timing = DEFAULT) -> dict[str, str]:
    """Return the text of every written file by its path in this folder."""
    # Shared values are written out: kustomize refuses anchors in a patch.
    yaml.CSafeDumper.ignore_aliases = lambda self, data: True  # noqa: ARG005
    environ = "".join(f"{name}={value}\n" for name, value in timing.environ().items())
    return {
        "base/timing.yaml": _text(timing_documents(cluster)),
        "base/timing.env": _WRITTEN + environ,
        "base/haproxy.cfg": haproxy_text(cluster, timing, tls=False),
        "components/tls/haproxy.cfg": haproxy_text(cluster, timing, tls=True),
        "components/keda/timing.yaml": _text(scaled_object_timing(cluster)),
        "components/monitoring/monitors.yaml": _text(monitors(cluster)),
        "components/monitoring/rules.yaml": _text(rules()),
    }


if __name__ == "__main__":
    differ = [
        name
        for name, text in rendered().items()
        if not (HERE / name).exists() or (HERE / name).read_text("utf-8") != text
    ]
    if "--check" in sys.argv:
        for name in differ:
            print(f"deploy/kubernetes/{name} differs; run deploy/kubernetes/generate.py")
        sys.exit(bool(differ))
    for name in differ:
        (HERE / name).write_text(rendered()[name], "utf-8")
