"""Fleet: a fleet that a benchmark starts, and the commands that change it."""

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from florin.bench.load import constant_rate
from florin.bench.load.constant_rate import LoadTarget
from florin.bench.scenarios import faulty_releases
from florin.ops.fleet import welcome
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Part
from florin.ops.fleet.observe import observe_fleet
from florin.ops.fleet.options import florin_command
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from florin.ops.system.ports import free_port

_BACK_WITHIN_S = 60
_OURS = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "FLORIN_", "PG")


@dataclass(slots=True)
class BenchFleet:
    """A fleet in a home of its own, and the commands that change it."""

    home: Home
    port: int
    releases: Path
    instances: int
    replicas: int = 0

    async def florin(self, *words: str, expect: int = 0) -> str:
        """Run a command. Raises OperatorError when its exit status is not `expect`."""
        child = await asyncio.create_subprocess_exec(
            *florin_command(*words, "--home", str(self.home.path)),
            env=_environ(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        said = (await child.communicate())[0].decode(errors="replace")
        if child.returncode != expect:
            raise OperatorError(
                f"florin {' '.join(words)} ended with {child.returncode}: {said[-2000:]}"
            )
        return said

    async def up(self) -> None:
        # Replicas only for the benchmarks that need them.
        words = ("--api", str(self.instances), "--replicas", str(self.replicas))
        await self.florin("up", "--detach", "--port", str(self.port), *words)

    async def foreground(self) -> asyncio.subprocess.Process:
        """Start a supervisor, which takes over the fleet; return once it watches the parts."""
        child = await asyncio.create_subprocess_exec(
            *florin_command("up", "--home", str(self.home.path)),
            env=_environ(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _BACK_WITHIN_S
        while time.monotonic() < deadline:
            now = observe_fleet(self.home).part("supervisor")
            if now is not None and now.pid == child.pid and now.state == "ready":
                return child
            if child.returncode is not None:
                break
            await asyncio.sleep(0.1)
        raise OperatorError("The new supervisor did not take over in time.")

    async def sell_cards(self, *, cards: int) -> LoadTarget:
        """Sell cards of the demo merchant for the load to redeem."""
        demo = welcome.read_demo(self.home)
        if demo is None:
            raise OperatorError(f"{self.home.path} has no demo merchant.")
        address = f"127.0.0.1:{self.port}"
        return await constant_rate.sell_cards(address, demo.api_key, demo.program, cards=cards)

    def part(self, name: str) -> Part:
        part = observe_fleet(self.home).part(name)
        if part is None or part.process is None:
            raise OperatorError(f"{name} is not running.")
        return part

    async def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part and wait until its successor serves."""
        before = self.part(name).process
        assert before is not None
        processes.send_signal(before, number)
        if number is signal.SIGSTOP:
            await asyncio.sleep(6)
            processes.send_signal(before, signal.SIGCONT)
            await asyncio.sleep(4)
            return
        deadline = time.monotonic() + _BACK_WITHIN_S
        while time.monotonic() < deadline:
            now = observe_fleet(self.home).part(name)
            if now and now.state == "ready" and now.process not in (None, before):
                await asyncio.sleep(3)  # until the balancer has admitted it
                return
            await asyncio.sleep(0.1)
        raise OperatorError(f"{name} did not serve again in time.")

    async def slow(self, name: str, seconds: float) -> None:
        """Give a part the CPU for a quarter of the time."""
        process, until = self.part(name).process, time.monotonic() + seconds
        assert process is not None
        while time.monotonic() < until:
            processes.send_signal(process, signal.SIGSTOP)
            await asyncio.sleep(0.15)
            processes.send_signal(process, signal.SIGCONT)
            await asyncio.sleep(0.05)

    async def deploy(
        self, release: str, *more: str, expect: int = 0, soak: str = "2s", strategy: str = "rolling"
    ) -> str:
        """Deploy a faulty release, or the one named good; `more` are further words."""
        path = self.releases / release.replace(" ", "-")
        if not path.is_dir():
            # In a thread: the load shares this loop, and no answer may wait for the copy.
            path = await asyncio.to_thread(
                faulty_releases.make_faulty_release, self.releases, release
            )
        words = ("deploy", f"--{strategy}", "--soak", soak, "--release", str(path), *more)
        return await self.florin(*words, expect=expect)

    async def cut_off(self, step: int, *more: str) -> None:
        """Kill the supervisor at a step of a deployment; the next supervisor finishes it."""
        words = ("deploy", "--soak", "200ms", *more, "--home", str(self.home.path))
        child = await asyncio.create_subprocess_exec(
            *florin_command(*words),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stderr is not None
        async for line in child.stderr:
            if line.startswith(b"[%d/" % step):
                leader = self.part("supervisor").process
                assert leader is not None
                processes.send_signal(leader, signal.SIGKILL)
                break
        await child.wait()
        await self.up()


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


def own_fleet(folder: Path, instances: int, replicas: int = 0) -> BenchFleet:
    """Return a fleet with its home in the folder, on a free port."""
    folder.chmod(0o711)  # the engines' account must be able to traverse it
    home = Home(folder / "home")
    return BenchFleet(home, free_port(), folder / "releases", instances, replicas)
