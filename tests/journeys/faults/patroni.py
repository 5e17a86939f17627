"""A Patroni cluster from Debian: three PostgreSQL 15 servers and one etcd, one process each."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.ops.system import os_user, processes
from florin.ops.system.os_user import OsAccount
from florin.ops.system.ports import free_port
from tests.support import postgres_server
from tests.support.instance import Instance

DATABASE = "faults"
_PROGRAMS = ("patroni", "patronictl", "etcd")
_WITHIN_S = 120.0
_NAMES = ("one", "two", "three")
_SECRET = "of-the-tests"


@dataclass(slots=True)
class Node:
    """Patroni and its PostgreSQL server."""

    name: str
    folder: Path
    api: int
    port: int
    process: subprocess.Popen[Any] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "patroni.json"

    def said(self, path: str = "") -> dict[str, Any]:
        try:
            return httpx.get(f"http://127.0.0.1:{self.api}/{path}", timeout=2).json()
        except (httpx.TransportError, ValueError):
            return {}

    def leads(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.api}/leader", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


@dataclass(slots=True)
class Cluster:
    """Three nodes and the API instances that use them."""

    nodes: list[Node]
    user: OsAccount | None
    instances: list[Instance] = field(default_factory=list[Instance])

    def url(self, role: str) -> str:
        """A URL of all nodes; a client connects to the one that accepts writes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://{role}@{hosts}/{DATABASE}?target_session_attrs=read-write"

    def leader(self) -> Node | None:
        return next((node for node in self.nodes if node.leads()), None)

    def whole(self) -> bool:
        """One primary, one synchronous standby and one further replica."""
        leader = self.leader()
        if leader is None:
            return False
        states = [each.get("sync_state") for each in leader.said().get("replication", ())]
        return len(states) == len(self.nodes) - 1 and "sync" in states

    def lose(self, node: Node) -> None:
        """Kill Patroni and its server at once, as a lost machine does."""
        assert node.process is not None
        postmaster = int((node.folder / "data" / "postmaster.pid").read_text().split()[0])
        family = [processes.find_process(number) for number in (*_children(postmaster), postmaster)]
        node.process.kill()
        for member in family:
            if member is not None:
                processes.send_signal(member, signal.SIGKILL)
        node.process.wait(20)

    def start(self, node: Node) -> None:
        with (node.folder / "log").open("ab") as log:
            node.process = subprocess.Popen(
                ["patroni", str(node.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={
                    "PATH": os.defpath,
                    "HOME": str(node.folder),
                    "LC_ALL": "C.UTF-8",
                    "TZ": "UTC",
                },
                start_new_session=True,
                **({} if self.user is None else self.user.options()),
            )

    def switch(self, to: Node) -> None:
        """Switch the primary over in order."""
        words = ["patronictl", "-c", str(to.config), "switchover", "--candidate", to.name]
        said = os_user.run_as(self.user, [*words, "--force"])
        assert said.returncode == 0, said.stdout + said.stderr

    def stop(self) -> None:
        for node in self.nodes:  # signal all before waiting for any, so that no node is promoted
            if node.process is not None and node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        for node in self.nodes:
            if node.process is not None:
                try:
                    node.process.wait(30)
                except subprocess.TimeoutExpired:
                    self.lose(node)


def until(ask: Callable[[], Any], what: str, nodes: list[Node]) -> Any:
    deadline = time.monotonic() + _WITHIN_S
    while not (answer := ask()):
        if time.monotonic() > deadline:
            logs = [(node.folder / "log").read_text("utf-8")[-1500:] for node in nodes]
            pytest.fail(f"waited in vain for {what}\n" + "\n".join(logs))
        time.sleep(0.2)
    return answer


@contextmanager
def cluster() -> Generator[Cluster]:
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    missing += [] if postgres_server.DEBIAN_15.exists() else ["postgresql-15"]
    if missing:
        pytest.skip(f"this system lacks {', '.join(missing)} (apt-get install patroni etcd-server)")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="florin-test-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        user = os_user.choose_account([])
        etcd = stack.enter_context(_etcd(folder))
        nodes = [_node(folder / name, name, etcd, user) for name in _NAMES]
        made = Cluster(nodes, user)
        stack.callback(made.stop)
        for node in nodes:
            made.start(node)
        until(made.whole, "a leader and two that follow it", nodes)
        yield made


@contextmanager
def _etcd(folder: Path) -> Generator[int]:
    port, peers = free_port(), free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    words = ["etcd", "--data-dir", str(folder / "etcd"), "--log-level", "error"]
    words += ["--listen-client-urls", client, "--advertise-client-urls", client]
    words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    words += ["--initial-cluster", f"default={peer}", "--unsafe-no-fsync"]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait(20)


def _node(folder: Path, name: str, etcd: int, user: OsAccount | None) -> Node:
    os_user.make_private_dir(folder, user)
    node = Node(name, folder, free_port(), free_port())
    superuser = {"username": "postgres", "password": _SECRET}
    parameters = {"max_connections": 100, "wal_keep_size": "128MB", "fsync": "on"}
    config: dict[str, Any] = {
        "scope": "florin",
        "name": name,
        "restapi": {"listen": f"127.0.0.1:{node.api}", "connect_address": f"127.0.0.1:{node.api}"},
        "etcd3": {"hosts": f"127.0.0.1:{etcd}"},
        "bootstrap": {
            "dcs": {
                "ttl": 20,
                "loop_wait": 1,
                "retry_timeout": 5,
                # An acknowledged write is on two servers, or there is none.
                "synchronous_mode": True,
                "synchronous_mode_strict": True,
                "postgresql": {"use_pg_rewind": True, "parameters": parameters},
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
        },
        "postgresql": {
            "listen": f"127.0.0.1:{node.port}",
            "connect_address": f"127.0.0.1:{node.port}",
            "data_dir": str(folder / "data"),
            "bin_dir": str(postgres_server.DEBIAN_15.parent),
            "pgpass": str(folder / "pgpass"),
            "authentication": {
                "superuser": superuser,
                "replication": {"username": "replicator", "password": _SECRET},
            },
            "parameters": {"unix_socket_directories": str(folder)},
            "pg_hba": [
                "local all all trust",
                "host all all 127.0.0.1/32 trust",
                "host replication all 127.0.0.1/32 trust",
            ],
        },
    }
    node.config.write_text(json.dumps(config), "utf-8")
    node.config.chmod(0o644)
    return node


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(number) for number in text.split()]
