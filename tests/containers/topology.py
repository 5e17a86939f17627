"""Topology: deploy/compose.yaml on an engine of the tests' own, with stand-in images."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec

from florin.gate.client import open_client
from florin.gate.comparison import ledger_differences
from florin.gate.load import CheckLoad
from florin.gate.merchant import CARD_MAX, CARD_MIN, CURRENCY, CheckMerchant
from tests.containers.engine import (
    CHECKOUT,
    Engine,
    EngineUnavailable,
    load_base,
    network_namespace,
    running_engine,
)

PARTS = ("postgres", "valkey", "haproxy")
MONITORING = ("prometheus", "alertmanager")
_PARTS = Path(__file__).parent / "stand_ins" / "parts"
_FILES = (
    "compose.yaml",
    "compose.development.yaml",
    "compose.patroni.yaml",
    "compose.tls.yaml",
    "compose.valkey-cluster.yaml",
    "stack.yaml",
    "stack.sh",
    "secrets.sh",
    "haproxy",
    "patroni",
    "postgres",
    "valkey",
)
# The next release, and one whose instances end as soon as they start; its migration works.
_NEXT = "FROM florin:1\nENV FLORIN_RELEASE=two\n"
_BAD = r"""
FROM florin:1
ENTRYPOINT ["sh", "-c", "[ $0 != api ] || { echo broken >&2; exit 3; }; exec florin $0 $@"]
"""


@contextmanager
def engine_with_images(*, monitoring: bool = True, more: bool = False) -> Generator[Engine]:
    """An engine with networks, and the images of the product and stand-ins for the others.
    Raises EngineUnavailable.

    `more`: also those that only the long form needs: Patroni, an older PostgreSQL, a registry.
    """
    place = Path(tempfile.mkdtemp(prefix="florin-engine-"))
    try:
        with running_engine(place) as engine:  # builds need this machine's network
            began = time.monotonic()
            build_images(engine, monitoring=monitoring)
            if more:
                for part in ("postgres-15", "registry"):
                    build_part(engine, part)
                base = ("--build-arg", "BASE=stand-in-postgres", "--network", "host")
                folder = str(CHECKOUT / "deploy" / "patroni")
                words = ("-q", *base, "-t", "stand-in-patroni", folder)
                engine.docker("build", *words, within_s=600)
            print(f"\nimages built in {time.monotonic() - began:.1f} s")
        with network_namespace() as namespace, running_engine(place, namespace=namespace) as engine:
            _see_that_networks_work(engine)
            yield engine
    finally:
        shutil.rmtree(place)


def _see_that_networks_work(engine: Engine) -> None:
    """Run a container as Compose does: what fails later is then the fault of the product."""
    limits = ("--network", "tried", "--read-only", "--cap-drop", "ALL", "--memory", "64m")
    try:
        engine.docker("network", "create", "tried")
        engine.docker("run", "--rm", *limits, "--cpus", "0.5", "stand-in-base", "true")
        engine.docker("network", "rm", "tried")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"a container with a network cannot run: {error}") from error


def build_images(engine: Engine, *, monitoring: bool = True) -> None:
    """Build the image of this checkout, two others from it, and the stand-ins for the rest.
    Raises EngineUnavailable when a stand-in cannot be built.
    """
    base = load_base(engine)
    command = ["env", f"BASE={base}", "deploy/ci/image.sh", "florin:1", "--network", "host"]
    engine.run(command, within_s=600)
    for tag, text in (("florin:2", _NEXT), ("florin:bad", _BAD)):
        folder = engine.place / "images" / tag.replace(":", "-")
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(text, "utf-8")
        engine.docker("build", "-q", "-t", tag, str(folder))
    for part in (*PARTS, *(MONITORING if monitoring else ())):
        build_part(engine, part)


def build_part(engine: Engine, part: str) -> None:
    """Build a stand-in. Raises EngineUnavailable."""
    words = ("--network", "host", "--target", part, "-t", f"stand-in-{part}", str(_PARTS))
    try:
        engine.docker("build", "-q", *words, within_s=600)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"the stand-in for {part} was not built: {error}") from error


@dataclass(frozen=True, slots=True)
class Topology:
    """A running Compose project; `folder` has its files."""

    engine: Engine
    folder: Path
    port: int
    healthy_s: float
    files: tuple[str, ...] = ("compose.yaml",)
    postgres: str = "stand-in-postgres"

    @property
    def address(self) -> str:
        return f"{self.engine.host}:{self.port}"

    def compose(self, *words: str, fails: bool = False, within_s: float = 300) -> str:
        files = [word for each in self.files for word in ("-f", str(self.folder / each))]
        command = ["docker", "compose", *files, *words]
        done = self.engine.run(command, fails=fails, within_s=within_s, environ=self.environ())
        return done.stdout

    def environ(self) -> dict[str, str]:
        own = {"FLORIN_LISTEN": str(self.port), "FLORIN_PROJECT": "florin"}
        return images() | own | {"POSTGRES_IMAGE": self.postgres}

    def containers(self, *services: str) -> list[Any]:
        ids = self.compose("ps", "--all", "--quiet", *services).split()
        return msgspec.json.decode(self.engine.docker("inspect", *ids).stdout)

    def florin(self, *words: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `florin` of this checkout against the project."""
        more = {
            "COMPOSE_FILE": os.pathsep.join(str(self.folder / each) for each in self.files),
            "PYTHONPATH": str(CHECKOUT / "src"),
            **self.environ(),
        }
        command = [sys.executable, "-P", "-m", "florin", *words]
        return self.engine.run(command, fails=fails, within_s=500, environ=more)

    def merchant(self) -> CheckMerchant:
        said = self.compose(
            "run", "--rm", "-T", "--no-deps", "tool", "demo-merchant", "--print", "--json"
        )
        return self.with_program(msgspec.json.decode(said))

    def with_program(self, demo: Any) -> CheckMerchant:
        """The demo merchant with a program that allows every amount of the load."""
        body: dict[str, Any] = {"name": "Load", "currency": CURRENCY}
        body |= {"min_amount": CARD_MIN, "max_amount": CARD_MAX}
        made = httpx.post(
            f"http://{self.address}/api/v1/programs",
            json=body,
            headers={"authorization": f"Bearer {demo['api_key']}", "idempotency-key": "load"},
            trust_env=False,
            timeout=30,
        )
        assert made.status_code == 201, made.text
        return CheckMerchant("", made.json()["id"], demo["api_key"])

    @asynccontextmanager
    async def load(self, merchant: CheckMerchant, *, rate: float) -> AsyncGenerator[CheckLoad]:
        """Load through the balancer, whose requests are never repeated; no answer may fail, and
        every amount must be in the ledger exactly once.
        """
        async with open_client(self.address, merchant) as client:
            load = CheckLoad(client, merchant, seed=1, rate=rate)
            load.start()
            try:
                yield load
                await load.pause()
                print(f"{load.log.failed} of {load.log.requests} requests failed")
                assert load.log.failed == 0, load.log.failures
                assert await ledger_differences(client, load.log) == []
            finally:
                await load.stop()


def images() -> dict[str, str]:
    return {
        f"{part.upper()}_IMAGE": f"stand-in-{part}" for part in (*PARTS, *MONITORING, "patroni")
    }


def project_folder(*, secrets: bool = True) -> Path:
    """A copy of the files in deploy, with secrets of its own."""
    folder = Path(tempfile.mkdtemp(prefix="florin-compose-"))
    folder.chmod(0o755)  # files in it are mounted for the containers' users
    for name in (*_FILES, *MONITORING):
        source = CHECKOUT / "deploy" / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
    if secrets:
        subprocess.run([str(folder / "secrets.sh")], check=True)
    return folder


@contextmanager
def running_topology(
    engine: Engine, port: int, *more: str, postgres: str = "stand-in-postgres"
) -> Generator[Topology]:
    """Start the project from nothing, with `more` override files; remove it with its volumes."""
    folder = project_folder()
    files = ("compose.yaml", *more)
    project = Topology(engine, folder, port, 0.0, files, postgres)
    try:
        began = time.monotonic()
        project.compose("up", "--detach", "--wait", "--no-build")
        wait_until_served(project.address)
        yield replace(project, healthy_s=time.monotonic() - began)
    except BaseException:
        print(project.compose("ps", "--all"), project.compose("logs", "--tail", "15")[-12000:])
        raise
    finally:
        project.compose("--profile", "*", "down", "--volumes", "--timeout", "0")
        shutil.rmtree(folder)


def wait_until_served(address: str, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if (
                httpx.get(f"http://{address}/health/ready", timeout=2, trust_env=False).status_code
                == 200
            ):
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"{address} does not serve"
        time.sleep(0.1)
