"""Cluster API: what a Kubernetes API server answers to kubectl, over a socket, for tests.

It keeps objects and imitates the controllers as far as a deployment sees them: a Deployment's pods
are replaced after a few looks, a Job ends, a deleted object is gone. It is no cluster: scheduling,
networks, admission and the pods themselves are not there. `exec` speaks the WebSocket protocol of
the kubelet and answers from `PodAnswers`.
"""

import base64
import copy
import hashlib
import json
import re
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LOOKS = 1  # until a controller has done its work
_RESOURCES: dict[str, list[tuple[str, str]]] = {
    "v1": [("pods", "Pod"), ("services", "Service"), ("configmaps", "ConfigMap")],
    "apps/v1": [("deployments", "Deployment")],
    "batch/v1": [("jobs", "Job")],
    "autoscaling/v2": [("horizontalpodautoscalers", "HorizontalPodAutoscaler")],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget")],
}
_SERVED = {name: group for group, kinds in _RESOURCES.items() for name, _ in kinds}
_KINDS = {name: kind for kinds in _RESOURCES.values() for name, kind in kinds}
_PLURAL = {kind: name for name, kind in _KINDS.items()}

PodAnswers = Callable[[Object, str], tuple[int, str]]
"""The status and text of a pod's process for a URL."""


def _answer_ready(pod: Object, url: str) -> tuple[int, str]:
    del pod
    return 200, "" if url.endswith("/metrics") else "ready"


@dataclass(slots=True)
class Cluster:
    """The objects of one namespace. Images in `bad_pods` never serve, in `bad_jobs` always fail."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict[tuple[str, str], Object])
    bad_pods: set[str] = field(default_factory=set[str])
    bad_jobs: set[str] = field(default_factory=set[str])
    stuck: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])  # name and image
    answers: PodAnswers = _answer_ready
    requests: list[str] = field(default_factory=list[str])  # the changes, in order
    selected: list[str] = field(default_factory=list[str])  # colours of the public Service
    ready_at_switch: list[bool] = field(default_factory=list[bool])
    looks: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, obj: Object) -> Object | None:
        """Add an object as the server would; None if there is one of this name."""
        key = (_PLURAL[obj["kind"]], obj["metadata"]["name"])
        if key in self.objects:
            return None
        made = copy.deepcopy(obj)
        made["metadata"] |= {"namespace": "florin", "uid": f"{len(self.requests)}-{key[1]}"}
        made["metadata"] |= {"generation": 1, "resourceVersion": "1"}
        if obj["kind"] == "Deployment":
            made["spec"].setdefault("replicas", 2)
        if obj["kind"] == "Job":  # as its controller does
            made["spec"]["selector"] = {"matchLabels": {"controller-uid": "1"}}
            made["spec"]["template"]["metadata"].setdefault("labels", {})["controller-uid"] = "1"
        self.objects[key] = made
        self.looks[key] = 0
        return made

    def patch(self, plural: str, name: str, change: Object) -> Object | None:
        obj = self.objects.get((plural, name))
        if obj is None:
            return None
        before = copy.deepcopy(obj["spec"])  # a change of the metadata starts no rollout
        _merge(obj, change)
        if obj["spec"] != before:
            obj["metadata"]["generation"] += 1
            self.looks[plural, name] = 0
        if (plural, name) == ("services", "florin") and obj["spec"] != before:
            colour = obj["spec"]["selector"]["florin/colour"]
            self.selected.append(colour)
            self.ready_at_switch.append(self._available(f"florin-api-{colour}"))
        return obj

    def look(self, plural: str, name: str) -> Object | None:
        """Return an object with its status; each look takes its controller a step further."""
        obj = self.objects.get((plural, name))
        if obj is None:
            return None
        self.looks[plural, name] += 1
        seen = self.looks[plural, name] > _LOOKS
        if plural == "deployments":
            bad = _image(obj) in self.bad_pods or (name, _image(obj)) in self.stuck
            obj["status"] = _rollout(obj, done=seen and not bad, hopeless=seen and bad)
        if plural == "jobs" and seen:
            kind = "Failed" if _image(obj) in self.bad_jobs else "Complete"
            obj["status"] = {"conditions": [{"type": kind, "status": "True", "message": "BackOff"}]}
        return obj

    def pods(self) -> list[Object]:
        """Return the pods of all Deployments whose image serves."""
        return [
            _pod(deployment, number)
            for (plural, _), deployment in self.objects.items()
            if plural == "deployments"
            for number in range(deployment["spec"]["replicas"])
        ]

    def find(self, plural: str, selector: str) -> list[Object]:
        wanted = dict(each.split("=", 1) for each in selector.split(",") if each)
        found = (
            self.pods()
            if plural == "pods"
            else [self.look(*key) for key in list(self.objects) if key[0] == plural]
        )
        return [
            each
            for each in found
            if each and wanted.items() <= each["metadata"].get("labels", {}).items()
        ]

    def _available(self, name: str) -> bool:
        obj = self.objects.get(("deployments", name), {})
        status = obj.get("status", {})
        pods = [status.get(each) for each in ("updatedReplicas", "replicas", "availableReplicas")]
        return bool(status) and pods == [obj["spec"]["replicas"]] * 3


def _image(obj: Object) -> str:
    """The image of Florin: a balancer has one in its sidecar."""
    pod = obj["spec"]["template"]["spec"]
    images = [each["image"] for each in [*pod["containers"], *pod.get("initContainers", ())]]
    return next(each for each in images if "florin" in each)


def _rollout(obj: Object, *, done: bool, hopeless: bool) -> Object:
    replicas = obj["spec"]["replicas"]
    status = {"observedGeneration": obj["metadata"]["generation"], "replicas": replicas}
    if done:
        return status | {"updatedReplicas": replicas, "availableReplicas": replicas}
    status |= {"updatedReplicas": 1, "replicas": replicas + 1, "availableReplicas": replicas}
    if hopeless:
        reason = {"reason": "ProgressDeadlineExceeded", "message": "has timed out progressing"}
        status["conditions"] = [{"type": "Progressing", "status": "False", **reason}]
    return status


def _pod(deployment: Object, number: int) -> Object:
    template = copy.deepcopy(deployment["spec"]["template"])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{number}",
            "namespace": "florin",
            "labels": template["metadata"]["labels"],
        },
        "spec": template["spec"],
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "florin", "restartCount": 0}],
        },
    }


def _merge(into: Object, change: Object) -> None:
    """Merge as a strategic patch does, with containers by name."""
    for key, value in change.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), cast("Object", value))
        elif key == "containers":
            for each in value:
                [there] = [one for one in into[key] if one["name"] == each["name"]]
                there.update(each)
        else:
            into[key] = value


class _Handler(BaseHTTPRequestHandler):
    """One connection of kubectl."""

    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base's name
        del format, args

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.endswith("/exec"):
            self._exec(parts.path.split("/")[-2], parse_qs(parts.query)["command"])
            return
        with self.cluster.lock:
            answer = _discovery(parts.path) or self._read(parts.path, parse_qs(parts.query))
        self._say(answer)

    def do_POST(self) -> None:
        obj = json.loads(self._body())
        with self.cluster.lock:
            self.cluster.requests.append(f"create {obj['kind']}/{obj['metadata']['name']}")
            made = self.cluster.add(obj)
        name = f'{_PLURAL[obj["kind"]]} "{obj["metadata"]["name"]}"'
        self._say(made or _status(409, "AlreadyExists", f"{name} already exists"), 201)

    def do_PATCH(self) -> None:
        plural, name = self._place()
        change = json.loads(self._body())
        with self.cluster.lock:
            self.cluster.requests.append(f"patch {plural}/{name}")
            self._say(self.cluster.patch(plural, name, change) or _absent(plural, name))

    def do_DELETE(self) -> None:
        plural, name = self._place()
        self._body()
        with self.cluster.lock:
            gone = self.cluster.objects.pop((plural, name), None)
            if gone is not None:
                self.cluster.requests.append(f"delete {plural}/{name}")
        self._say(_status(200, "", "") if gone else _absent(plural, name))

    def _read(self, path: str, query: dict[str, list[str]]) -> Object:
        found = re.fullmatch(r"/apis?/(.+)/namespaces/florin/([a-z]+)(?:/([^/]+))?", path)
        if found is None:
            return _status(404, "NotFound", path)
        plural, name = found[2], found[3]
        if name is not None:
            pods = {each["metadata"]["name"]: each for each in self.cluster.pods()}
            one = pods.get(name) if plural == "pods" else self.cluster.look(plural, name)
            return one or _absent(plural, name)
        items = self.cluster.find(plural, query.get("labelSelector", [""])[0])
        return {"apiVersion": _SERVED[plural], "kind": f"{_KINDS[plural]}List", "items": items}

    def _place(self) -> tuple[str, str]:
        words = urlsplit(self.path).path.split("/")
        return words[-2], words[-1]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _say(self, document: Object, status: int = 200) -> None:
        text = json.dumps(document).encode()
        failed = document.get("kind") == "Status" and document["code"] >= 400
        self.send_response(document["code"] if failed else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _exec(self, name: str, command: list[str]) -> None:
        """Answer `kubectl exec` as a kubelet does: frames of a channel number and its bytes."""
        urls = [word for word in command if word.startswith("http://")]
        with self.cluster.lock:
            [pod] = [each for each in self.cluster.pods() if each["metadata"]["name"] == name]
            printed = json.dumps([self.cluster.answers(pod, url) for url in urls])
        key = self.headers["Sec-WebSocket-Key"] + _GUID
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        self.end_headers()
        for channel, text in ((1, printed), (3, '{"status":"Success"}')):
            self._frame(0x82, bytes([channel]) + text.encode())
        self._frame(0x88, struct.pack(">H", 1000))
        self.close_connection = True

    def _frame(self, first: int, payload: bytes) -> None:
        if len(payload) < 126:
            head = struct.pack(">BB", first, len(payload))
        else:
            head = struct.pack(">BBH", first, 126, len(payload))
        self.wfile.write(head + payload)
        self.wfile.flush()


def _discovery(path: str) -> Object | None:
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [group.split("/") for group in _RESOURCES if "/" in group]
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {
                    "name": name,
                    "versions": [{"groupVersion": f"{name}/{version}", "version": version}],
                    "preferredVersion": {"groupVersion": f"{name}/{version}", "version": version},
                }
                for name, version in groups
            ],
        }
    group = path.removeprefix("/apis/").removeprefix("/api/")
    if group not in _RESOURCES:
        return None
    verbs = ["create", "delete", "get", "list", "patch"]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group,
        "resources": [
            {
                "name": name,
                "singularName": kind.lower(),
                "namespaced": True,
                "kind": kind,
                "verbs": verbs,
            }
            for name, kind in _RESOURCES[group]
        ],
    }


def _status(code: int, reason: str, message: str) -> Object:
    status = "Success" if code < 400 else "Failure"
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": status,
        "reason": reason,
        "message": message,
        "code": code,
    }


def _absent(plural: str, name: str) -> Object:
    return _status(404, "NotFound", f'{plural} "{name}" not found')


@contextmanager
def serve_cluster(cluster: Cluster) -> Generator[str]:
    """Serve the cluster on a port of loopback; return its URL."""
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
