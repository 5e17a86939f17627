"""Dumps: backing up and restoring a Compose project by the commands of docs/operations/compose.md.

And the proof that it worked: a card that is spent by its code.
"""

import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from florin.gate.merchant import CheckMerchant
from tests.containers.topology import Topology

_AS_SUPERUSER = ("-h", "/run/postgresql", "-U", "postgres")


def create(project: Topology, merchant: CheckMerchant, path: str, body: Any) -> Any:
    """Post to the API; return what was made."""
    headers = {"authorization": f"Bearer {merchant.api_key}"}
    headers["idempotency-key"] = f"operations-{time.monotonic_ns()}"
    url = f"http://{project.address}/api/v1{path}"
    answer = httpx.post(url, json=body, headers=headers, trust_env=False, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.json()


def spend(project: Topology, merchant: CheckMerchant, card: Any) -> int:
    """Redeem one euro by the card's code; return what is left."""
    body = {"code": card["code"], "amount": 100, "currency": "EUR"}
    return create(project, merchant, "/redemptions", body)["balance"]


def back_up(project: Topology, folder: Path, *, server: str = "database") -> Path:
    """Write a dump, of the present version of PostgreSQL, that a server gives."""
    dump = folder / "florin.dump"
    with dump.open("wb") as file:
        _stream(project, server, ("pg_dump", *_AS_SUPERUSER, "-Fc", "florin"), stdout=file)
    return dump


def read_dump(project: Topology, dump: Path, *, server: str = "database") -> None:
    words = ("pg_restore", *_AS_SUPERUSER, "--exit-on-error", "-d", "florin")
    with dump.open("rb") as file:
        _stream(project, server, words, stdin=file)


def _stream(project: Topology, server: str, words: tuple[str, ...], **files: Any) -> None:
    named = [word for each in project.files for word in ("-f", str(project.folder / each))]
    command = ["docker", "compose", *named, "exec", "-T", server, *words]
    environ = {**project.engine.environ, **project.environ()}
    done = subprocess.run(
        command, env=environ, stderr=subprocess.PIPE, text=True, timeout=120, check=False, **files
    )
    assert done.returncode == 0, done.stderr


def keep_secrets(project: Topology, folder: Path) -> Path:
    """Write the archive of the secrets."""
    archive = folder / "secrets.tar.gz"
    subprocess.run(["tar", "-C", str(project.folder), "-czf", str(archive), "secrets"], check=True)
    return archive


def unpack_secrets(archive: Path, folder: Path) -> None:
    subprocess.run(["tar", "-C", str(folder), "-xzf", str(archive)], check=True)
    subprocess.run([str(folder / "secrets.sh")], check=True)
