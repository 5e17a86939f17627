"""Stack: deploy/stack.yaml on a Swarm of one or more of the tests' own engines."""

import asyncio
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import msgspec

from florin.gate.merchant import CheckMerchant
from tests.containers.engine import Engine
from tests.containers.topology import Topology, images, project_folder, wait_until_served

_PORT = 8000
_SERVES_WITHIN_S = 240.0
_IMAGE = "{{.Spec.TaskTemplate.ContainerSpec.Image}}"


class Stack(Topology):
    """The stack, by a manager's engine; each node serves at its own port."""

    def deploy_files(self) -> None:
        """Deploy the files as they are now, as an operator does."""
        self.engine.run(
            [str(self.folder / "stack.sh"), "--resolve-image", "never"],
            environ=images() | {"FLORIN_PORT": str(self.port)},
        )

    def tasks(self, name: str, engine: Engine | None = None) -> list[str]:
        """The containers of a service that run on a node, by default the manager."""
        label = f"label=com.docker.swarm.service.name=florin_{name}"
        listed = (engine or self.engine).docker("ps", "--quiet", "--filter", label)
        return listed.stdout.split()

    def demo_merchant(self, engines: Sequence[Engine] = ()) -> CheckMerchant:
        """A merchant, made by the operator's container on the node that has it."""
        words = ("florin", "demo-merchant", "--print", "--json")
        for engine in engines or (self.engine,):
            for task in self.tasks("operator", engine):
                said = engine.docker("exec", task, *words)
                return self.with_program(msgspec.json.decode(said.stdout))
        raise AssertionError("the operator's task runs on no node")

    def inspect(self, name: str, template: str) -> str:
        words = ("service", "inspect", f"florin_{name}", "--format", template)
        return self.engine.docker(*words).stdout.strip()

    def images(self) -> set[str]:
        return {
            self.inspect(name, _IMAGE).partition("@")[0] for name in ("api", "worker", "operator")
        }

    def replicas(self) -> dict[str, str]:
        words = ("service", "ls", "--format", "{{.Name}}={{.Replicas}}")
        lines = self.engine.docker(*words).stdout.split("\n")
        return dict(line.removeprefix("florin_").split("=", 1) for line in lines if line)

    def is_whole(self) -> bool:
        """Whether every task runs and is healthy, and the migration has ended."""
        counts = self.replicas()
        job = counts.pop("migrate", "")
        return job.endswith("(1/1 completed)") and all(
            each.split("/")[0] == each.split("/")[1].split(" ")[0] for each in counts.values()
        )


@contextmanager
def running_stack(manager: Engine, places: dict[str, str]) -> Generator[Stack]:
    """Deploy the stack from nothing on a Swarm; `places`: the node of each label."""
    folder = project_folder()
    made = Stack(manager, folder, _PORT, 0.0)
    try:
        for label, node in places.items():
            manager.docker("node", "update", "--label-add", f"{label}=true", node)
        began = time.monotonic()
        made.deploy_files()
        wait_until_served(made.address, _SERVES_WITHIN_S)
        print(f"\nthe stack serves after {time.monotonic() - began:.1f} s")
        yield made
    except BaseException:
        print(manager.docker("stack", "ps", "--no-trunc", "florin").stdout)
        raise
    finally:
        manager.docker("stack", "rm", "florin")
        _remove_volumes(manager)
        shutil.rmtree(folder)


def _remove_volumes(engine: Engine) -> None:
    """Remove the data of a removed stack once its containers are gone: others have its names."""
    deadline = time.monotonic() + 90
    while engine.docker("ps", "--all", "--quiet").stdout:
        assert time.monotonic() < deadline, engine.docker("ps", "--all").stdout
        time.sleep(0.5)
    engine.docker("volume", "prune", "--all", "--force")


async def until_true(question: Callable[[], bool], *, within_s: float) -> None:
    """Ask, in a thread, until the answer is yes; each question runs a command."""
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(question):
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.25)
