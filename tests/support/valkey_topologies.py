"""Valkey topologies for tests: single, Sentinel and cluster; stopped afterwards."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from florin.ops.system import bundled_programs, os_user
from florin.ops.valkey.users import RIGHTS
from tests.support.ports import free_port

NAME = "florin"
_READY_WITHIN_S = 60
_COMMON = 'bind 127.0.0.1\nsave ""\nappendonly no\ndaemonize no\nlogfile ""\n'


@dataclass(slots=True)
class Node:
    """One server."""

    port: int
    process: subprocess.Popen[Any]

    def ask(self, *words: object) -> Any:
        client: Any = redis.Redis
        with client(port=self.port, protocol=2, decode_responses=True, socket_timeout=5) as it:
            return it.execute_command(*words)

    def master(self) -> bool:
        try:
            return self.ask("ROLE")[0] == "master"
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass(slots=True)
class Valkeys:
    """A topology and the URL that names it."""

    url: str = ""
    place: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="florin-test-")))
    nodes: list[Node] = field(default_factory=list[Node])
    sentinels: list[Node] = field(default_factory=list[Node])

    @property
    def app_url(self) -> str:
        """The URL with a user that has only the rights of the application."""
        return self.url.replace("://", "://app:app@", 1)

    def start(self, settings: str, *, sentinel: bool = False, port: int | None = None) -> Node:
        user = os_user.choose_account([])
        port = port or free_port()
        folder = self.place / f"{port}"
        folder.mkdir(exist_ok=True)
        path = folder / "valkey.conf"
        users = "" if sentinel else f"user app on >app {RIGHTS}\n"
        path.write_text(f'{_COMMON}port {port}\ndir "{folder}"\n{users}{settings}\n', "utf-8")
        options: dict[str, Any] = {}
        self.place.chmod(0o755)
        if user is not None:
            for each in (folder, path):
                os.chown(each, user.uid, user.gid)
            options = dict(user.options())
        program = str(bundled_programs.engine_program(bundled_programs.VALKEY, user))
        with (folder / "log").open("ab") as log:
            process: subprocess.Popen[Any] = subprocess.Popen(
                [program, str(path), *(["--sentinel"] if sentinel else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **options,
            )
        node = Node(port, process)
        (self.sentinels if sentinel else self.nodes).append(node)
        until(lambda: answers(node), (folder / "log").read_text)
        return node

    def master(self) -> Node:
        return next(node for node in self.nodes if node.process.poll() is None and node.master())

    def stop(self) -> None:
        for node in (*self.sentinels, *self.nodes):
            if node.process.poll() is None:
                with suppress(ProcessLookupError):
                    node.process.kill()
                node.process.wait(10)
        shutil.rmtree(self.place, ignore_errors=True)


def until(true: Callable[[], bool], what: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def answers(node: Node) -> bool:
    try:
        return node.ask("PING") in {"PONG", True}
    except redis.RedisError:
        return False


@asynccontextmanager
async def single() -> AsyncGenerator[Valkeys]:
    made = Valkeys()
    try:
        node = await asyncio.to_thread(made.start, "")
        made.url = f"redis://127.0.0.1:{node.port}/0"
        yield made
    finally:
        made.stop()


@asynccontextmanager
async def sentinel() -> AsyncGenerator[Valkeys]:
    """A master, two replicas, three Sentinels that act after a second."""
    made = Valkeys()
    try:
        await asyncio.to_thread(_sentinel, made)
        yield made
    finally:
        made.stop()


def _sentinel(made: Valkeys) -> None:
    # A master without its replicas refuses writes: a replaced master must not accept any.
    fast = (
        "repl-diskless-sync yes\nrepl-diskless-sync-delay 0\n"
        "min-replicas-to-write 1\nmin-replicas-max-lag 2"
    )
    master = made.start(fast)
    replicas = [made.start(f"{fast}\nreplicaof 127.0.0.1 {master.port}") for _ in range(2)]
    until(lambda: all(str(each.ask("ROLE")[3]) == "connected" for each in replicas))
    watch = (
        f"sentinel monitor {NAME} 127.0.0.1 {master.port} 2\n"
        f"sentinel down-after-milliseconds {NAME} 1000\n"
        f"sentinel failover-timeout {NAME} 5000"
    )
    sentinels = [made.start(watch, sentinel=True) for _ in range(3)]
    until(lambda: all(_knows_all(each) for each in sentinels))
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in sentinels)
    made.url = f"redis+sentinel://{hosts}/{NAME}/0"


def _knows_all(sentinel: Node) -> bool:
    flat: list[str] = sentinel.ask("SENTINEL", "MASTER", NAME)
    said = dict(zip(flat[::2], flat[1::2], strict=True))
    return int(said["num-other-sentinels"]) == 2 and int(said["num-slaves"]) == 2


@asynccontextmanager
async def cluster() -> AsyncGenerator[Valkeys]:
    """Three masters and a replica of each."""
    made = Valkeys()
    try:
        await asyncio.to_thread(_cluster, made)
        yield made
    finally:
        made.stop()


def _cluster(made: Valkeys) -> None:
    settings = (
        "cluster-enabled yes\ncluster-node-timeout 1500\ncluster-config-file nodes.conf\n"
        "repl-diskless-sync yes\nrepl-diskless-sync-delay 0\ncluster-require-full-coverage no"
    )
    buses = [free_port() for _ in range(6)]
    nodes = [made.start(f"{settings}\ncluster-port {bus}") for bus in buses]
    names = [str(node.ask("CLUSTER", "MYID")) for node in nodes]
    for node, bus in zip(nodes[1:], buses[1:], strict=True):
        nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
    for n, (first, last) in enumerate(((0, 5460), (5461, 10922), (10923, 16383))):
        nodes[n].ask("CLUSTER", "ADDSLOTSRANGE", first, last)
    until(lambda: all(str(node.ask("CLUSTER", "NODES")).count("\n") == 6 for node in nodes))
    for n in range(3):
        until(lambda n=n: _replicates(nodes[n + 3], names[n]))
    until(lambda: all("cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in nodes))
    until(lambda: all(str(node.ask("ROLE")[3]) == "connected" for node in nodes[3:]))
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes[:3])
    made.url = f"redis+cluster://{hosts}"


def _replicates(node: Node, master: str) -> bool:
    try:
        node.ask("CLUSTER", "REPLICATE", master)
    except redis.ResponseError:
        return False  # it has not discovered the master yet
    return True
