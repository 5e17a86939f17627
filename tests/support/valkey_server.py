"""A Valkey server for tests on its own port, stopped afterwards."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from florin.ops.system import bundled_programs, os_user
from tests.support.ports import free_port

_READY_WITHIN_S = 60


@dataclass(slots=True)
class Memory:
    """A running server."""

    port: int
    process: subprocess.Popen[Any]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextmanager
def memory() -> Generator[Memory]:
    """Start a server without persistence."""
    user = os_user.choose_account([])
    options: dict[str, Any] = {} if user is None else dict(user.options())
    with tempfile.TemporaryDirectory(prefix="florin-test-") as folder:
        port = free_port()
        argv = [
            str(bundled_programs.engine_program(bundled_programs.VALKEY, user)),
            "--port",
            str(port),
        ]
        argv += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"},
                start_new_session=True,
                **options,
            )
        made = Memory(port, process)
        try:
            _wait_for(made, Path(folder) / "log")
            yield made
        finally:
            if process.poll() is None:
                made.kill()


def _wait_for(made: Memory, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    client: Any = redis.Redis(port=made.port)
    try:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if made.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(log.read_text("utf-8")[-2000:]) from None
                time.sleep(0.02)
            else:
                return
    finally:
        client.close()
