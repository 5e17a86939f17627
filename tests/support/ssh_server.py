"""An SSH server for tests, on loopback, with keys of its own, stopped afterwards."""

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port

_READY_WITHIN_S = 20


@dataclass(frozen=True, slots=True)
class SshServer:
    """A running server. `key` may run one command; `known_hosts` is the server's line."""

    port: int
    key: str
    known_hosts: str
    process: subprocess.Popen[Any]

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"


@contextmanager
def running_ssh_server(command: str) -> Generator[SshServer]:
    """Start a server whose only key runs `command`. Skips the test where there is no sshd."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        pytest.skip("there is no sshd here (openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its parts without rights live there
    folder = Path(tempfile.mkdtemp(prefix="florin-ssh-"))
    for name in ("host", "client"):
        words = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            name,
            "-f",
            str(folder / name),
        ]
        subprocess.run(words, check=True)
    public = (folder / "client.pub").read_text("utf-8")
    (folder / "authorized").write_text(f'restrict,command="{command}" {public}', "utf-8")
    port = free_port()
    lines = [
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'authorized'}",
        "PidFile none",
        "StrictModes no",  # the folder of temporary files is writable for all
        "UsePAM no",
        "PasswordAuthentication no",
    ]
    (folder / "config").write_text("\n".join(lines) + "\n", "utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "config")],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        _wait_until_listening(process, folder / "log")
        host = (folder / "host.pub").read_text("utf-8").split()[:2]
        key = (folder / "client").read_text("utf-8")
        yield SshServer(port, key, f"[127.0.0.1]:{port} {' '.join(host)}", process)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _wait_until_listening(process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while "Server listening" not in log.read_text("utf-8"):
        assert process.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < deadline, log.read_text("utf-8")
        time.sleep(0.02)
