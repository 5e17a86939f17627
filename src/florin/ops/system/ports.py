"""Ports: find a free port, and the process that uses one."""

import contextlib
import random
import socket
from collections.abc import Collection
from pathlib import Path

from florin.ops.system import processes

# Below Linux's range for outgoing connections: one of those could otherwise use a saved port at the
# next start.
_FIRST, _LAST = 20_000, 32_000
_HIGHEST = 65_535
_LISTEN = "0A"


def is_free_port(port: int, host: str = "127.0.0.1") -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(remembered: int | None = None, *, but: Collection[int] = ()) -> int:
    """Return the remembered port if it is free, else another one that is not in `but`."""
    if remembered is not None and is_free_port(remembered):
        return remembered
    while True:
        port = random.randrange(_FIRST, _LAST)  # noqa: S311 - not a secret
        if port not in but and is_free_port(port):
            return port


def next_free(first: int, *, but: Collection[int] = ()) -> int:
    """Return the first free port from `first` on that is not in `but`."""
    for port in range(first, _HIGHEST + 1):
        if port not in but and is_free_port(port):
            return port
    return free_port(but=but)


def port_holder(port: int) -> str:
    """Return the process that listens on a port, if the system shows it: `nginx (pid 812)`."""
    pid = port_holder_pid(port)
    if pid is None:
        return "another process"
    words = processes.command_line(pid)
    return f"{Path(words[0]).name} (pid {pid})" if words else f"pid {pid}"


def port_holder_pid(port: int) -> int | None:
    sockets = {f"socket:[{inode}]" for inode in _listeners(port)}
    if not sockets:
        return None
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # sockets of other users' processes are not readable
            if any(str(handle.readlink()) in sockets for handle in (entry / "fd").iterdir()):
                return int(entry.name)
    return None


def _listeners(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text("ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTEN and int(words[1].rsplit(":", 1)[1], 16) == port:
                    found.add(words[9])
    return found
