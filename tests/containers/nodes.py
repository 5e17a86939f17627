"""Nodes: several engines that reach each other over a switch of their own, for a Swarm.

Each engine has a network namespace. The switch is a bridge in a further one, so that the rules of
this machine stay as they are; this machine has an address on it, too.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.containers.engine import Engine, EngineUnavailable, running_engine
from tests.containers.topology import build_images

_NETWORK = "198.18.22"  # as in tests.containers.engine, of the range for benchmarks
_HOST = f"{_NETWORK}.1"


@dataclass(frozen=True, slots=True)
class Node:
    """An engine, and the cable from its namespace to the switch."""

    engine: Engine
    switch: str
    port: str

    @property
    def address(self) -> str:
        return self.engine.host

    def unplug(self) -> None:
        """Cut the node off: nothing is refused, everything is lost."""
        _run("nsenter", f"--net=/run/netns/{self.switch}", "ip", "link", "set", self.port, "down")


@contextmanager
def running_nodes(count: int) -> Generator[list[Node]]:
    """Start engines that have all images. Raises EngineUnavailable."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="florin-nodes-"))
        stack.callback(shutil.rmtree, folder)
        first = folder / "1"
        first.mkdir()
        with running_engine(first) as engine:  # builds need this machine's network
            build_images(engine)
        shutil.rmtree(first / "base", ignore_errors=True)
        (first / "data" / "engine-id").unlink(missing_ok=True)
        switch = stack.enter_context(_switch())
        nodes: list[Node] = []
        for number in range(1, count + 1):
            place = folder / str(number)
            if place != first:
                place.mkdir()
                # Layers have devices as marks of deleted files.
                _run("cp", "--archive", str(first / "data"), str(place / "data"))
            port, namespace = stack.enter_context(_plugged(switch, number))
            host = f"{_NETWORK}.{10 + number}"
            engine = stack.enter_context(running_engine(place, namespace=namespace, host=host))
            nodes.append(Node(engine, switch, port))
        yield nodes


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineUnavailable(f"{' '.join(command)}: {done.stderr.strip()}")


@contextmanager
def _namespace(name: str) -> Generator[str]:
    _run("ip", "netns", "add", name)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@contextmanager
def _switch() -> Generator[str]:
    """Make a bridge in a namespace, on which this machine has an address."""
    with _namespace(f"florin-switch-{os.getpid()}") as name:
        inside = ("nsenter", f"--net=/run/netns/{name}")
        outer, inner = f"fs{os.getpid() % 10_000_000}a", f"fs{os.getpid() % 10_000_000}b"
        try:
            _run(*inside, "ip", "link", "add", "switch", "type", "bridge")
            _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
            _run("ip", "link", "set", inner, "netns", name)
            _run("ip", "address", "add", f"{_HOST}/24", "dev", outer)
            _run("ip", "link", "set", outer, "up")
            _run(*inside, "ip", "link", "set", inner, "master", "switch")
            for link in (inner, "switch", "lo"):
                _run(*inside, "ip", "link", "set", link, "up")
            yield name
        finally:
            subprocess.run(["ip", "link", "delete", outer], capture_output=True, check=False)


@contextmanager
def _plugged(switch: str, number: int) -> Generator[tuple[str, str]]:
    """Make a node's namespace with a cable to the switch: its port there, and the namespace."""
    with _namespace(f"florin-node-{os.getpid()}-{number}") as name:
        port, link = f"port{number}", "uplink"
        there = ("nsenter", f"--net=/run/netns/{switch}")
        inside = ("nsenter", f"--net=/run/netns/{name}")
        _run(*there, "ip", "link", "add", port, "type", "veth", "peer", "name", f"to{number}")
        _run(*there, "ip", "link", "set", f"to{number}", "netns", f"/run/netns/{name}")
        _run(*there, "ip", "link", "set", port, "master", "switch")
        _run(*there, "ip", "link", "set", port, "up")
        _run(*inside, "ip", "link", "set", f"to{number}", "name", link)
        _run(*inside, "ip", "address", "add", f"{_NETWORK}.{10 + number}/24", "dev", link)
        for each in (link, "lo"):
            _run(*inside, "ip", "link", "set", each, "up")
        yield port, name
