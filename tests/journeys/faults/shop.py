"""An installation for faults: a durable PostgreSQL and two API instances that can be killed."""

import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

from florin.ops.system import processes as pids
from tests.support import postgres_server
from tests.support.instance import Instance, instance

DATABASE = "faults"
_GONE_WITHIN_S = 90


class Fleet:
    """The processes that a fault may kill, always with SIGKILL by pid."""

    def __init__(
        self, server: postgres_server.Server, postgres: Path, instances: list[Instance]
    ) -> None:
        self.process = server.process
        self._server = server
        self._port = server.port
        self._data = server.data
        self._postgres = postgres
        self.instances = instances

    def url(self, role: str) -> str:
        return self._server.url(role, DATABASE)

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        """The faults: each kills something and restarts what does not restart by itself."""
        return {
            "an instance": self._instance,
            "every instance": self._every_instance,
            "a connection's process": self._backend,
            "the postmaster": self._postmaster,
            "all of PostgreSQL": self._database,
            "everything": self._everything,
        }

    def _instance(self) -> None:
        self.instances[0].kill()
        self.instances[0].start()

    def _every_instance(self) -> None:
        for one in self.instances:
            one.kill()
        for one in self.instances:
            one.start()

    def _backend(self) -> None:
        """Kill a backend: the server ends all connections, recovers from its WAL and continues."""
        backends = [child for child in self._children() if b"florin_app" in _title(child)]
        _kill(backends[:1])

    def _postmaster(self) -> None:
        """Kill the postmaster; wait until its children have ended, before a restart."""
        children = self._children()
        self.process.kill()
        self.process.wait(_GONE_WITHIN_S)
        _await_gone(children)
        self.start_database()

    def _database(self) -> None:
        self.kill_database()
        self.start_database()

    def _everything(self) -> None:
        for one in self.instances:
            one.kill()
        self.kill_database()
        self.start_database()
        for one in self.instances:
            one.start()

    def freeze_database(self) -> None:
        """Stop all processes of the server without ending them (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)  # first, so that it starts no new process
        for child in self._children():
            pids.send_signal(child, signal.SIGSTOP)

    def kill_database(self) -> None:
        children = self._children()
        self.process.kill()
        _kill(children)
        self.process.wait(_GONE_WITHIN_S)
        _await_gone(children)

    def start_database(self, *more: str) -> None:
        """`more`: settings for this start only."""
        self.process, _ = postgres_server.start(self._postgres, self._data, self._port, more)

    def _children(self) -> list[pids.ProcessId]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = [pids.find_process(int(number)) for number in listed.read_text("ascii").split()]
        return [child for child in found if child is not None]


@asynccontextmanager
async def running(server: postgres_server.Server, postgres: Path) -> AsyncGenerator[Fleet]:
    """Two instances on a new database of the server, which is stopped at the end."""
    with ExitStack() as stack:
        await postgres_server.make_template(server)
        await postgres_server.make_database(server, DATABASE)
        url = f"{server.url('florin_app', DATABASE)}?connection_limit=6&pool_timeout=20"
        instances: list[Instance] = [stack.enter_context(instance(url)) for _ in range(2)]
        made = Fleet(server, postgres, instances)
        try:
            yield made
        finally:
            postgres_server.stop(made.process)


def _title(process: pids.ProcessId) -> bytes:
    """The process title: `postgres: florin_app database 127.0.0.1(…) …`."""
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    return b""


def _kill(processes: list[pids.ProcessId]) -> None:
    for process in processes:
        pids.send_signal(process, signal.SIGKILL)


def _await_gone(processes: list[pids.ProcessId]) -> None:
    deadline = time.monotonic() + _GONE_WITHIN_S
    while any(pids.is_alive(process) for process in processes):
        assert time.monotonic() < deadline, "a killed server's process does not end"
        time.sleep(0.01)


def processes_of(fleet: Fleet) -> set[int]:
    """The running processes, to check that a fault replaced some."""
    own = {one.process.pid for one in fleet.instances if one.process is not None}
    return {fleet.process.pid, *own}
