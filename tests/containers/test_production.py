"""The workflow `deploy` on this host: built, scanned, pushed to a registry, deployed to Compose.

act runs it with the real scripts; what GitHub does is not here. Its last step also by SSH.
"""

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from florin.gate.merchant import CheckMerchant
from tests.containers.conftest import FORM
from tests.containers.engine import CHECKOUT, Engine
from tests.containers.topology import Topology, images, running_topology
from tests.support.ssh_server import running_ssh_server

pytestmark = pytest.mark.long_form(FORM)
REGISTRY = "127.0.0.1:5000"  # as the engine sees it, in its own network namespace
REPOSITORY = f"{REGISTRY}/florin"
# The engine reaches no network: the layers that need one are those of the builds before, which had
# this machine's.
_SHIM = """#!/bin/sh
PATH=${PATH#*:}
[ "$1" != build ] || { shift; set -- build --network host "$@"; }
exec docker "$@"
"""


@pytest.fixture(scope="module")
def registry(networked: Engine) -> Iterator[None]:
    networked.docker("run", "-d", "--name", "registry", "-p", "5000:5000", "stand-in-registry")
    yield
    networked.docker("rm", "--force", "--volumes", "registry")


@pytest.fixture(scope="module")
def project(networked: Engine, registry: None) -> Iterator[Topology]:
    del registry
    with running_topology(networked, 8000) as running:
        yield running


@pytest.fixture(scope="module")
def merchant(project: Topology) -> CheckMerchant:
    return project.merchant()


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with a commit of its own, so its image is another release."""
    copy = tmp_path_factory.mktemp("pipeline") / "checkout"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "clone", "-q", str(CHECKOUT), str(copy)], check=True)
    subprocess.run([*git, "switch", "-q", "-C", "main"], cwd=copy, check=True)
    words = [*git, "commit", "-q", "--allow-empty", "-m", "next"]
    subprocess.run(words, cwd=copy, check=True)
    shim = copy.parent / "bin" / "docker"
    shim.parent.mkdir()
    shim.write_text(_SHIM, "utf-8")
    shim.chmod(0o755)
    return copy


def program(project: Topology) -> dict[str, str]:
    """What makes `florin` of this checkout work on the engine."""
    engine = project.engine.environ
    return {
        **{name: engine[name] for name in ("PATH", "DOCKER_HOST", "DOCKER_CONFIG")},
        **images(),
        "FLORIN": f"{sys.executable} -P -m florin",
        "PYTHONPATH": str(CHECKOUT / "src"),
    }


def place(project: Topology) -> dict[str, str]:
    files = [str(project.folder / each) for each in project.files]
    return {"COMPOSE_FILE": os.pathsep.join(files), "PUBLIC_URL": f"http://{project.address}"}


def deploy(project: Topology, copy: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow."""
    home = copy.parent
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    engine = project.engine.environ
    steps = {
        **program(project),
        "PATH": f"{home / 'bin'}:{engine['PATH']}",
        "BASE": "stand-in-base",
        "XDG_CACHE_HOME": cache,  # with the tools of scan.sh
    }
    given = {
        "REGISTRY": REGISTRY,
        "REPOSITORY": REPOSITORY,
        "TARGET": "compose",
        **place(project),
        **variables,
    }
    words = [str(Path(sys.executable).parent / "act"), "workflow_dispatch"]
    words += ["-W", ".github/workflows/deploy.yml", "-P", "ubuntu-24.04=-self-hosted"]
    words += ["--actor", "alice", "-s", "GITHUB_TOKEN=token"]
    words += [word for name, value in given.items() for word in ("--var", f"{name}={value}")]
    words += [f"--env={name}={value}" for name, value in steps.items()]
    return subprocess.run(
        words,
        cwd=copy,
        env={
            **os.environ,
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def running(project: Topology) -> set[str]:
    """The images of the instances that run."""
    found = project.containers("api-blue", "api-green")
    return {one["Config"]["Image"] for one in found if one["State"]["Status"] == "running"}


async def test_main_is_published_by_digest_and_deployed_under_load(
    project: Topology, merchant: CheckMerchant, copied: Path
) -> None:
    async with project.load(merchant, rate=15.0) as load:
        await load.until(50, 30)
        said = await asyncio.to_thread(deploy, project, copied)
        assert said.returncode == 0, said.stdout[-6000:] + said.stderr[-2000:]
        await load.until(load.log.requests + 50, 30)
    assert "no known vulnerabilities" in said.stdout
    new = {image for image in running(project) if image.startswith(f"{REPOSITORY}@sha256:")}
    assert len(new) == 1
    worker = project.containers("worker")
    assert {one["Config"]["Image"] for one in worker} == new


async def test_what_does_not_serve_in_public_is_rolled_back(
    project: Topology, copied: Path
) -> None:
    before = {one["Config"]["Image"] for one in project.containers("worker")}
    said = await asyncio.to_thread(deploy, project, copied, PUBLIC_URL="http://127.0.0.1:1")
    assert said.returncode != 0
    assert "rolling back" in said.stdout + said.stderr
    assert {one["Config"]["Image"] for one in project.containers("worker")} == before
    assert before <= running(project)


async def test_a_published_image_is_deployed_by_ssh_under_load(
    project: Topology, merchant: CheckMerchant, copied: Path
) -> None:
    engine, tag = project.engine, f"{REPOSITORY}:by-ssh"
    engine.docker("tag", "florin:2", tag)
    engine.docker("push", "--quiet", tag)
    words = ("image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", tag)
    [image] = [
        each for each in engine.docker(*words).stdout.split() if each.startswith(f"{REPOSITORY}@")
    ]
    host = copied.parent / "host.env"
    given = {**program(project), **place(project)}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in given.items()]
    host.write_text("\n".join(lines), "utf-8")
    receive = f"{copied}/deploy/ci/receive.sh {REPOSITORY}"
    with running_ssh_server(f". {host} && exec {receive}") as server:
        async with project.load(merchant, rate=15.0) as load:
            await load.until(50, 30)
            said = await asyncio.to_thread(
                subprocess.run,
                [str(copied / "deploy/ci/production.sh"), image],
                env={
                    **os.environ,
                    "TARGET": "ssh",
                    "SSH_HOST": server.url,
                    "SSH_KEY": server.key,
                    "SSH_KNOWN_HOSTS": server.known_hosts,
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert said.returncode == 0, said.stdout[-6000:] + said.stderr[-2000:]
            await load.until(load.log.requests + 50, 30)
    assert f"{image} serves at" in said.stdout
    assert image in running(project)
    assert {one["Config"]["Image"] for one in project.containers("worker")} == {image}
