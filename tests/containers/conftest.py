"""Fixtures of the tests that need a Docker engine: `bin/test --containers`."""

import subprocess
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from florin.ops.system import processes
from tests.containers.engine import Engine, EngineUnavailable, load_base, running_engine
from tests.containers.topology import engine_with_images
from tests.support.instance import SECRETS
from tests.support.long_forms import EVERY

FORM = "containers"  # the long form
_HERE = Path(__file__).parent
# As in docs/operations/containers.md.
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--containers"):
        return
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.skip(reason="bin/test --containers runs these"))


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the image, until it is removed at the end of its `with`."""

    engine: Engine
    name: str

    def inspect(self) -> Any:
        found = self.engine.docker("inspect", "--type", "container", self.name)
        return msgspec.json.decode(found.stdout)[0]

    def health(self) -> str:
        """starting, healthy or unhealthy."""
        return self.inspect()["State"]["Health"]["Status"]

    def cpu_s(self) -> float:
        """Seconds of processor time that its process 1 has used."""
        found = processes.find_process(self.inspect()["State"]["Pid"])
        assert found is not None
        return processes.process_usage(found)[0]

    def exec(self, *words: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        return self.engine.docker("exec", self.name, *words, fails=fails)

    def signal(self, name: str) -> None:
        self.engine.docker("kill", "--signal", name, self.name)

    def wait(self) -> int:
        """The exit code, once it ends."""
        return int(self.engine.docker("wait", self.name, within_s=90).stdout)

    def log(self) -> str:
        said = self.engine.docker("logs", self.name)
        return said.stdout + said.stderr


@dataclass(frozen=True, slots=True)
class Image:
    """The image that deploy/ci/image.sh built, and its base."""

    engine: Engine
    tag: str
    base: str

    def inspect(self, tag: str | None = None) -> Any:
        found = self.engine.docker("image", "inspect", tag or self.tag)
        return msgspec.json.decode(found.stdout)[0]

    def run(self, *role: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a role to its end, which must be a success."""
        return self.engine.docker(
            "run", "--rm", "--network", "host", *HARDENED, *_given(environ), self.tag, *role
        )

    def shell(self, script: str) -> str:
        """What a shell script prints, run in the image as its user."""
        words = ("run", "--rm", "--network", "none", *HARDENED, "--entrypoint", "sh", self.tag)
        return self.engine.docker(*words, "-c", script).stdout

    @contextmanager
    def start(self, *role: str, **environ: str) -> Generator[Container]:
        # A worker that hangs is ended by its own watchdog after 20 s: its check must fail before.
        words = ("run", "-d", "--network", "host", "--health-interval", "1s", *HARDENED)
        made = self.engine.docker(*words, *_given(environ), self.tag, *role)
        container = Container(self.engine, made.stdout.strip())
        try:
            yield container
        finally:
            print(container.log()[-3000:])  # shown when the test failed
            self.engine.docker("rm", "--force", container.name)


def _given(environ: dict[str, str]) -> list[str]:
    """Options with the variables; the host's network is shared, so it listens on loopback only."""
    settings = {"FLORIN_ENV": "test", "FLORIN_HOST": "127.0.0.1", **SECRETS, **environ}
    return [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with ExitStack() as stack:
        try:
            started = stack.enter_context(running_engine())
        except EngineUnavailable as reason:
            pytest.skip(f"no Docker engine can be started here: {reason}")
        yield started


@pytest.fixture(scope="session")
def networked(pytestconfig: pytest.Config) -> Iterator[Engine]:
    """An engine with networks, for Compose and Swarm, which has all images."""
    with ExitStack() as stack:
        try:
            more = pytestconfig.getoption("--form") in (FORM, EVERY)
            monitoring = not pytestconfig.getoption("--quick")  # which runs Compose only
            made = engine_with_images(monitoring=monitoring, more=more)
            engine = stack.enter_context(made)
        except EngineUnavailable as reason:
            pytest.skip(f"no Docker engine with networks can be started here: {reason}")
        yield engine


@pytest.fixture(scope="session")
def built_image(networked: Engine) -> Image:
    """The image that Compose runs. It reaches nothing outside of the engine's networks."""
    return Image(networked, "florin:1", "stand-in-base")


@pytest.fixture(scope="session")
def image(engine: Engine) -> Image:
    """The image, for containers that share this machine's network, where a database is."""
    try:
        base = load_base(engine)
    except EngineUnavailable as reason:
        pytest.skip(f"there is no base image here: {reason}")
    engine.run(
        ["env", f"BASE={base}", "deploy/ci/image.sh", "florin:test", "--network", "host"],
        within_s=600,
    )
    return Image(engine, "florin:test", base)
