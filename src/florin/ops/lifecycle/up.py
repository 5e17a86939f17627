"""Up: observe, plan, act; then watch until somebody says stop."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, NoReturn

import msgspec

from florin.ops.autoscaling.autoscaler import Autoscaler
from florin.ops.backups import status, upload
from florin.ops.control import commands, socket
from florin.ops.fleet import audit_log, operation_lock, welcome
from florin.ops.fleet.options import UpOptions
from florin.ops.fleet.orders import Order, Reply, Tell
from florin.ops.haproxy import metrics
from florin.ops.haproxy.certificate_renewal import CertificateRenewal
from florin.ops.lifecycle import takeover
from florin.ops.lifecycle.startup import start_fleet
from florin.ops.postgres.failover_monitor import FailoverMonitor
from florin.ops.releases import version
from florin.ops.rollout.executor import FleetContext
from florin.ops.supervisor.launch import truncate_log
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system.console import OperatorError, say, voice
from florin.ops.valkey import role_monitor
from florin.ops.valkey.topology import SingleDeployment

AGAIN = -1  # not an exit code: the caller calls `again`


def run_fleet(options: UpOptions) -> int:
    """Run the fleet in this process until a signal; return the exit code, or AGAIN.

    It ends as well when another supervisor takes over: nothing else stops then.
    """
    options.home.make()
    handle = options.home.lock()
    if handle is None:
        handle = takeover.take_over(options)
    try:
        return asyncio.run(_run(options))
    finally:
        os.close(handle)


def restart_supervisor(options: UpOptions) -> NoReturn:
    """Become the supervisor anew, with the code as it lies there now: the same process."""
    environ = dict(options.environ) | {"FLORIN_ADOPT": "1"}
    if options.detached:
        environ["FLORIN_DETACHED"] = "1"
    # The program by its path: `python -m florin` was found on the PATH, and is named so there.
    words = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, words, environ)  # noqa: S606 - our own command line


async def _run(options: UpOptions) -> int:
    named = await asyncio.to_thread(version.current_version, options.checkout)
    fleet = Supervisor(options.home, named)
    halt = asyncio.Event()
    _listen_to_signals(halt, fleet.hurry)
    rising = asyncio.create_task(start_fleet(options, fleet))
    halted = asyncio.create_task(halt.wait())
    await asyncio.wait({rising, halted}, return_when=asyncio.FIRST_COMPLETED)
    if not rising.done():
        rising.cancel()
        await asyncio.gather(rising, return_exceptions=True)
        await fleet.stop_all(spare_adopted=True)
        say(f"Stopped while starting.{_left_alone(fleet)}")
        return 0
    try:
        running = rising.result()
    except (OperatorError, PartEnded) as error:
        await fleet.stop_all(spare_adopted=True)
        raise OperatorError(f"{_plain(str(error))}{_left_alone(fleet)}") from None
    return await _watch(running, halt)


def _left_alone(fleet: Supervisor) -> str:
    """Say so where a fleet ran before and runs on, with nobody to start what dies."""
    if not any(part.process for part in fleet.fleet.parts):
        return ""
    return " What ran before runs on, unwatched: florin up adopts it, florin down stops it."


async def _watch(running: FleetContext, halt: asyncio.Event) -> int:
    """Take orders and look after what runs until somebody says stop; return the exit code."""
    options, fleet = running.options, running.fleet
    left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    busy = set[asyncio.Task[Any]]()

    async def obey(order: Order, tell: Tell) -> Reply:
        if left.done():
            raise OperatorError("Another supervisor takes over just now; try again in a moment.")
        if (order.verb, order.name) == ("restart", "supervisor"):
            return _leave(running, order, left, AGAIN)
        if order.verb == takeover.HAND_OVER:
            return _leave(running, order, left, 0)
        task = asyncio.create_task(commands.execute_order(running, order, tell))
        busy.add(task)
        task.add_done_callback(busy.discard)
        return await asyncio.shield(task)

    renewal = CertificateRenewal(running.topology.balancer, options.tls)
    shipping = upload.start_uploader(options, running.topology.members)
    scaling = Autoscaler(running)
    watches = _watches(running, scaling, renewal)
    async with await socket.serve_orders(options.home, obey), _metrics(running, scaling):
        if not options.detached:
            _show(running)
        halted = asyncio.ensure_future(halt.wait())
        await asyncio.wait({halted, left}, return_when=asyncio.FIRST_COMPLETED)
        for task in (halted, *watches, *busy):
            task.cancel()
        await asyncio.gather(*watches, *busy, return_exceptions=True)
        await running.workers.halt()
    voice.clear()
    if left.done() and not halt.is_set():
        return left.result()
    say("Stopping.")
    await fleet.stop_all()
    if shipping is not None:
        await asyncio.to_thread(shipping.finish)
    return 0


async def _upkeep(running: FleetContext, renewal: CertificateRenewal, begun: float) -> None:
    """Once a second: the status line, the logs, the certificate."""
    while True:
        voice.status(_line(running.fleet, time.monotonic() - begun))
        for part in running.fleet.fleet.parts:
            await asyncio.to_thread(truncate_log, running.options.home.log(part.name))
        await renewal.look()
        await asyncio.sleep(1)


def _watches(
    running: FleetContext, scaling: Autoscaler, renewal: CertificateRenewal
) -> list[asyncio.Task[None]]:
    """What looks after the parts for as long as the fleet runs."""
    fleet, members, memory = running.fleet, running.topology.members, running.topology.memory
    watch = fleet.watchdog.watch
    upkeep = partial(_upkeep, running, renewal, time.monotonic())
    watches = [watch("scaling", scaling.watch), watch("upkeep", upkeep)]
    if members is not None and len(members.servers) > 1:
        watches.append(watch("failover monitor", FailoverMonitor(fleet, members).watch))
    if memory is not None and not isinstance(memory, SingleDeployment):
        watches.append(watch("role monitor", partial(role_monitor.monitor_roles, fleet, memory)))
    return watches


@contextlib.asynccontextmanager
async def _metrics(running: FleetContext, scaling: Autoscaler) -> AsyncGenerator[None]:
    """Answer with the metrics of all processes, for /metrics/fleet of the operations port."""

    def instances() -> dict[str, str]:
        parts = (*running.fleet.fleet.of("api"), *running.workers.there())
        found = ((part.name, part.metrics_address) for part in parts if part.process)
        return {name: address for name, address in found if address}

    def own() -> str:
        watchdog = running.fleet.watchdog
        return scaling.metrics() + status.backup_metrics(running.home) + watchdog.metrics()

    port = running.topology.balancer.edge.fleet_metrics_port
    assert port is not None
    try:
        server = await metrics.serve_fleet_metrics(port, instances, own)
    except OSError as error:
        say(f"The metrics of the fleet are not served (port {port}): {error.strerror}.")
        yield
        return
    async with server:
        yield


def _leave(running: FleetContext, order: Order, left: asyncio.Future[int], code: int) -> Reply:
    """Have this process end, or become the supervisor of the code as it lies there: all else runs
    on. Between two changes only, so that nothing is cut off.
    """
    if order.verb == takeover.HAND_OVER and not takeover.is_waiting(order):
        raise OperatorError("Who asked to take over has gone.")
    holder = operation_lock.load_operation(running.home)
    if holder is not None:
        raise OperatorError(f"The fleet is being changed by {holder.said()}; try again after that.")
    if code == AGAIN and not os.access(sys.executable, os.X_OK):
        raise OperatorError(
            f"{sys.executable} is gone, so the supervisor cannot start again; florin up takes over."
        )
    audit_log.append_operation(running.home, order.who, order.what, "done")
    left.set_result(code)
    if code == AGAIN:
        said = "The supervisor starts again."
        return Reply(said, done=True, document={"restarted": "supervisor"})
    say(f"Another supervisor takes over, for {order.who} ({order.what}); everything else runs on.")
    return Reply("It hands over.", done=True)


def _show(running: FleetContext) -> None:
    shown = welcome.welcome_of(running.home, running.topology.url)
    as_json = running.options.as_json
    document = msgspec.json.encode(shown).decode() if as_json else welcome.format_welcome(shown)
    with contextlib.suppress(OSError):
        print(document, flush=True)
    say("Ctrl-C stops everything in order.")


def _line(fleet: Supervisor, seconds: float) -> str:
    parts = [part for part in fleet.fleet.parts if part.role != "supervisor"]
    words = [
        f"{part.name} {part.state}{f' (restarts: {part.restarts})' if part.restarts else ''}"
        for part in parts
    ]
    return f"  {' · '.join(words)} · up {time.strftime('%H:%M:%S', time.gmtime(seconds))}"


def _listen_to_signals(halt: asyncio.Event, hurry: asyncio.Event) -> None:
    def ask() -> None:
        if halt.is_set():
            hurry.set()
            say("Hurrying: what still runs is ended at once.")
        halt.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ask)


def _plain(sentence: str) -> str:
    if "No space left on device" in sentence:
        return f"The disk is full; free at least 300 MB and run this again. ({sentence})"
    return sentence
