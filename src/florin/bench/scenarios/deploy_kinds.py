"""Deploy kinds: the changes, faults and faulty releases of `florin bench deploys`."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import msgspec

from florin.bench.environment.small_disk import filled_disk
from florin.bench.scenarios import faulty_releases
from florin.bench.scenarios.fleet import BenchFleet
from florin.ops.fleet import desired_state, operation_lock
from florin.ops.postgres.connection import open_session
from florin.ops.system.console import OperatorError
from florin.ops.topology.topology import running_urls

_IN_A_ROW = 10
_FLIP_MAX_S = 1.0
_LOCKED_S = 120.0  # how long a reader keeps its lock; a migration gives up earlier
_DOES_NOT_FIT = "does not fit"
DISK_FULL = "disk full"  # needs a disk of its own for the stored releases
_BETWEEN_S = 15  # the supervisor gives up a part that dies much more often

Change = Callable[[BenchFleet], Awaitable[object]]


async def _rollback(fleet: BenchFleet) -> None:
    if not desired_state.load_desired_state(fleet.home).previous:
        await fleet.deploy("good")
    await fleet.florin("rollback")


async def _scale(fleet: BenchFleet) -> None:
    await fleet.florin("scale", f"api={fleet.instances + 2}")
    await fleet.florin("scale", f"api={fleet.instances}")


async def _kills(fleet: BenchFleet) -> None:
    for number in range(12):
        await fleet.kill(f"api-{number % fleet.instances + 1}", signal.SIGKILL)


async def _cut_off(fleet: BenchFleet) -> None:
    for step in range(1, 5 * fleet.instances + 6):
        await fleet.cut_off(step)


async def _balancer(fleet: BenchFleet) -> None:
    await fleet.kill("balancer", signal.SIGKILL)
    await asyncio.sleep(_BETWEEN_S)


async def _single(fleet: BenchFleet) -> None:
    await fleet.florin("scale", "api=1")
    await fleet.florin("restart", "api-1")
    await fleet.florin("deploy", "--soak", "1s")
    await fleet.florin("scale", f"api={fleet.instances}")


async def _balance(fleet: BenchFleet) -> None:
    for algorithm in ("leastconn", "iphash", "roundrobin"):
        await fleet.florin("balance", algorithm)
        await asyncio.sleep(1)


async def _flip(fleet: BenchFleet) -> None:
    """Return to the standby; the first time a blue-green deployment makes one."""
    if desired_state.load_desired_state(fleet.home).standby is None:
        await fleet.deploy("good", strategy="blue-green", soak="1s")
    said = await fleet.florin("rollback", "--json")
    switched = msgspec.json.decode(said.splitlines()[-1])["switched_s"]
    if switched > _FLIP_MAX_S:
        raise OperatorError(f"The flip back took {switched} s; {_FLIP_MAX_S:g} s are allowed.")


async def _ten_in_a_row(fleet: BenchFleet) -> None:
    for number in range(_IN_A_ROW):
        strategy = "rolling" if number % 2 else "blue-green"
        await fleet.deploy("good", soak="500ms", strategy=strategy)


async def _scale_meanwhile(fleet: BenchFleet) -> None:
    """A second operator is refused, with the name of what is running."""
    deploying = asyncio.create_task(fleet.deploy("good", soak="2s", strategy="blue-green"))
    try:
        while operation_lock.load_operation(fleet.home) is None and not deploying.done():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        said = await fleet.florin("scale", f"api={fleet.instances + 1}", expect=1)
        if "Another operation is changing the fleet" not in said:
            raise OperatorError(f"A scale during a deployment was not refused clearly: {said}")
    finally:
        await deploying


async def _migration_waits(fleet: BenchFleet) -> None:
    """A reader of long duration has the lock that the migration needs; then it is let through."""
    url = running_urls(fleet.home)["DATABASE_URL_OWNER"]
    async with (
        asyncio.timeout(_LOCKED_S),
        open_session(url) as connection,
        connection.transaction(),
    ):
        await connection.execute("lock table florin.card in access share mode")
        await fleet.deploy("migration waits", expect=1)


async def _disk_full(fleet: BenchFleet) -> None:
    """The copy of the release does not fit; see DISK_FULL."""
    with filled_disk(fleet.home.path / "releases"):
        said = await fleet.deploy(_DOES_NOT_FIT, expect=1)
    if faulty_releases.FAULTS[_DOES_NOT_FIT].says not in said:
        raise OperatorError(f"A full disk was not reported clearly: {said}")


def _bad(release: str, *more: str, strategy: str = "rolling", soak: str = "5s") -> Change:
    return lambda fleet: fleet.deploy(release, *more, expect=1, soak=soak, strategy=strategy)


# Name, change, and whether some failures are expected.
KINDS: tuple[tuple[str, Change, bool], ...] = (
    ("rolling", lambda fleet: fleet.deploy("good"), False),
    ("rollback", _rollback, False),
    (
        "rolling, verified",
        lambda fleet: fleet.deploy("good", "--verify", soak="1s"),
        False,
    ),
    (
        "blue-green",
        lambda fleet: fleet.deploy("good", strategy="blue-green", soak="1s"),
        False,
    ),
    (
        "blue-green, verified",
        lambda fleet: fleet.deploy("good", "--verify", strategy="blue-green", soak="1s"),
        False,
    ),
    ("flip back", _flip, False),
    ("ten in a row", _ten_in_a_row, False),
    ("scale meanwhile", _scale_meanwhile, False),
    ("scale", _scale, False),
    ("restart", lambda fleet: fleet.florin("restart", "api-1"), False),
    ("balance", _balance, False),
    ("does not start", _bad("does not start"), False),
    ("is never ready", _bad("is never ready"), False),
    ("dies soon", _bad("dies soon"), False),
    ("is slow", _bad("is slow"), False),
    ("answers 500", _bad("answers 500"), True),
    ("500 to a fifth", _bad("answers 500 to a fifth", soak="20s"), True),
    ("wrong amounts", _bad("takes twice as much", strategy="blue-green"), False),
    ("takes a cent", _bad("takes a cent", "--verify", strategy="blue-green"), True),
    ("loses its database", _bad("loses its database", strategy="blue-green", soak="30s"), True),
    ("migration waits", _migration_waits, False),
    ("migration fails", _bad("migration fails"), False),
    (DISK_FULL, _disk_full, False),
    ("kill -9 x 12", _kills, False),
    ("terminated", lambda fleet: fleet.kill("api-1", signal.SIGTERM), False),
    ("frozen", lambda fleet: fleet.kill("api-1", signal.SIGSTOP), False),
    ("single instance", _single, False),
    ("supervisor killed", _cut_off, False),
    ("balancer killed", _balancer, True),
)
