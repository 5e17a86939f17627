"""S3-compatible storage for tests: moto's server as a process on its own port."""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import httpx

from florin.ops.backups.s3 import Bucket, open_bucket
from florin.ops.system.ports import free_port

_READY_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Storage:
    """A server with one bucket."""

    process: subprocess.Popen[Any]
    endpoint: str

    @property
    def environ(self) -> dict[str, str]:
        return {
            "BACKUP_URL": "s3://backups/some/place",
            "BACKUP_ENDPOINT": self.endpoint,
            "BACKUP_ACCESS_KEY_ID": "tests",
            "BACKUP_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
        }

    def bucket(self) -> Bucket:
        made = open_bucket(self.environ.get)
        assert made is not None
        return made


def backup_key() -> str:
    """An age key pair, as age-keygen creates it."""
    age: Any = import_module("pyrage")  # it has no type information
    return str(age.x25519.Identity.generate())


@contextmanager
def storage() -> Generator[Storage]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _answers(endpoint):
            assert process.poll() is None, "moto ended"
            assert time.monotonic() < deadline, "moto does not answer"
            time.sleep(0.1)
        made = Storage(process, endpoint)
        bucket = made.bucket()
        bucket.client.create_bucket(Bucket=bucket.name)
        yield made
    finally:
        process.kill()
        process.wait(10)


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(f"{endpoint}/moto-api/", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
