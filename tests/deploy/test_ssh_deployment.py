"""Deployments by SSH: what the key may do, and that a deployment survives its connection."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.ssh_server import SshServer, running_ssh_server

CHECKOUT = Path(__file__).parents[2]
REPOSITORY = "registry.example.com/florin"
IMAGE = f"{REPOSITORY}@sha256:{'a' * 64}"
# A deployment that ends when the test lets it, and is recorded.
_FLORIN = """#!/bin/sh
echo "begun $* COMPOSE_FILE=$COMPOSE_FILE"
while [ -e {hold} ]; do sleep 0.05; done
echo "$*" >>{record}
exit $(cat {code})
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A checkout on the host, with scripts for deployments and a program that records its calls."""
    shutil.copytree(CHECKOUT / "deploy" / "ci", tmp_path / "deploy" / "ci")
    (tmp_path / "code").write_text("0")
    florin = tmp_path / "florin"
    names = {name: tmp_path / name for name in ("hold", "record", "code")}
    florin.write_text(_FLORIN.format(**names), "utf-8")
    florin.chmod(0o755)
    (tmp_path / "bin").mkdir()
    curl = tmp_path / "bin" / "curl"  # what serves in public
    curl.write_text("#!/bin/sh\nexit 0\n", "utf-8")
    curl.chmod(0o755)
    return tmp_path


@pytest.fixture
def server(host: Path) -> Generator[SshServer]:
    words = f"PUBLIC_URL=http://127.0.0.1:1 FLORIN={host / 'florin'} PATH={host / 'bin'}:$PATH"
    with running_ssh_server(f"{words} {host}/deploy/ci/receive.sh {REPOSITORY}") as running:
        yield running


def _environ(server: SshServer) -> dict[str, str]:
    keys = {"SSH_KEY": server.key, "SSH_KNOWN_HOSTS": server.known_hosts}
    return {**os.environ, "TARGET": "ssh", "SSH_HOST": server.url, **keys}


def deploy(
    server: SshServer, image: str = IMAGE, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CHECKOUT / "deploy/ci/production.sh"), image],
        env=_environ(server) | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and text in path.read_text("utf-8")):
        assert time.monotonic() < deadline, f"{text} is not in {path}"
        time.sleep(0.02)


def test_the_host_deploys_and_its_output_and_code_return(server: SshServer, host: Path) -> None:
    said = deploy(server)
    assert said.returncode == 0, said.stdout + said.stderr
    assert (host / "record").read_text("utf-8") == (
        f"deploy --blue-green --release {IMAGE} --target compose\n"
    )
    assert f"COMPOSE_FILE={host}/deploy/compose.yaml" in said.stdout
    assert f"{IMAGE} serves at" in said.stdout
    (host / "code").write_text("1")
    said = deploy(server)
    assert said.returncode == 1
    assert "serves at" not in said.stdout  # that is of the run before


@pytest.mark.parametrize(
    "image",
    [
        f"registry.example.com/other@sha256:{'a' * 64}",
        f"{REPOSITORY}@sha256:{'a' * 63}",
        f"{IMAGE}; true",
        f"{REPOSITORY}@sha256:{'a' * 32}$(touch x){'a' * 21}",
        f"{REPOSITORY}/other@sha256:{'a' * 64}",
    ],
)
def test_the_key_deploys_nothing_else(server: SshServer, host: Path, image: str) -> None:
    said = deploy(server, image)
    assert said.returncode == 2
    assert f"This key deploys {REPOSITORY}@sha256:" in said.stderr
    assert not (host / "record").exists()


def test_a_host_with_another_key_gets_nothing(server: SshServer, host: Path) -> None:
    kind, key = server.known_hosts.split()[1:]
    other = f"[127.0.0.1]:{server.port} {kind} {key[:-8]}{'A' * 8}"
    said = deploy(server, SSH_KNOWN_HOSTS=other)
    assert said.returncode == 255
    assert "Host key verification failed" in said.stderr
    assert not (host / "record").exists()


def test_a_deployment_survives_its_connection(server: SshServer, host: Path) -> None:
    (host / "hold").touch()
    with subprocess.Popen(
        [str(CHECKOUT / "deploy/ci/production.sh"), IMAGE],
        env=_environ(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as client:
        _wait_for(host / "deploy/live/production.log", "begun")
        os.killpg(client.pid, signal.SIGKILL)
    (host / "hold").unlink()
    _wait_for(host / "deploy/live/production.log", "serves at")
    assert (host / "record").read_text("utf-8").count(IMAGE) == 1
