"""Up: observe, plan and start the fleet; then supervise it until a signal."""

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
from florin.ops.fleet.orders import Order, Reply, ReportProgress
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

AGAIN = -1  # not an exit code: the caller calls `restart_supervisor`


def run_fleet(options: UpOptions) -> int:
    """Run the fleet in this process until a signal; return the exit code, or AGAIN.

    Also returns when another supervisor takes over; the other parts keep running then.
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
    """Replace this process with a supervisor that runs the current code of the checkout."""
    environ = dict(options.environ) | {"FLORIN_ADOPT": "1"}
    if options.detached:
        environ["FLORIN_DETACHED"] = "1"
    # The path of the program: in orig_argv it may be a name that was found on the PATH.
    words = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, words, environ)  # noqa: S606 - the command line of this process


async def _run(options: UpOptions) -> int:
    named = await asyncio.to_thread(version.current_version, options.checkout)
    fleet = Supervisor(options.home, named)
    halt = asyncio.Event()
    _listen_to_signals(halt, fleet.hurry)
    startup = asyncio.create_task(start_fleet(options, fleet))
    halted = asyncio.create_task(halt.wait())
    await asyncio.wait({startup, halted}, return_when=asyncio.FIRST_COMPLETED)
    if not startup.done():
        startup.cancel()
        await asyncio.gather(startup, return_exceptions=True)
        await fleet.stop_all(spare_adopted=True)
        say(f"Stopped while starting.{_still_running(fleet)}")
        return 0
    try:
        running = startup.result()
    except (OperatorError, PartEnded) as error:
        await fleet.stop_all(spare_adopted=True)
        raise OperatorError(f"{_with_advice(str(error))}{_still_running(fleet)}") from None
    return await _watch(running, halt)


def _still_running(fleet: Supervisor) -> str:
    """Return a warning if parts of an earlier start run on without a supervisor."""
    if not any(part.process for part in fleet.fleet.parts):
        return ""
    return (
        " The parts that ran before are still running, without a supervisor: adopt them with"
        " florin up, or stop them with florin down."
    )


async def _watch(running: FleetContext, halt: asyncio.Event) -> int:
    """Execute orders and supervise the fleet until a signal or takeover; return the exit code."""
    options, fleet = running.options, running.fleet
    left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    busy = set[asyncio.Task[Any]]()

    async def execute(order: Order, report: ReportProgress) -> Reply:
        if left.done():
            raise OperatorError("Another supervisor is taking over; try again in a moment.")
        if (order.verb, order.name) == ("restart", "supervisor"):
            return _leave(running, order, left, AGAIN)
        if order.verb == takeover.HAND_OVER:
            return _leave(running, order, left, 0)
        task = asyncio.create_task(commands.execute_order(running, order, report))
        busy.add(task)
        task.add_done_callback(busy.discard)
        return await asyncio.shield(task)

    renewal = CertificateRenewal(running.topology.balancer, options.tls)
    shipping = upload.start_uploader(options, running.topology.members)
    scaling = Autoscaler(running)
    watches = _watches(running, scaling, renewal)
    async with await socket.serve_orders(options.home, execute), _metrics(running, scaling):
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
    """Start the background tasks that run as long as the fleet."""
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
    """Serve the metrics of all processes, for /metrics/fleet of the operations port."""

    def instances() -> dict[str, str]:
        parts = (*running.fleet.fleet.of("api"), *running.workers.there())
        addresses = ((part.name, part.metrics_address) for part in parts if part.process)
        return {name: address for name, address in addresses if address}

    def own() -> str:
        watchdog = running.fleet.watchdog
        return scaling.metrics() + status.backup_metrics(running.home) + watchdog.metrics()

    port = running.topology.balancer.edge.fleet_metrics_port
    assert port is not None
    try:
        server = await metrics.serve_fleet_metrics(port, instances, own)
    except OSError as error:
        say(f"/metrics/fleet is not served: port {port} cannot be opened: {error.strerror}.")
        yield
        return
    async with server:
        yield


def _leave(running: FleetContext, order: Order, left: asyncio.Future[int], code: int) -> Reply:
    """Make this process end, or restart with the current code; the other parts keep running.

    Refused during a change, so that no change is interrupted.
    """
    if order.verb == takeover.HAND_OVER and not takeover.is_waiting(order):
        raise OperatorError("The supervisor that asked to take over no longer runs.")
    holder = operation_lock.load_operation(running.home)
    if holder is not None:
        raise OperatorError(operation_lock.busy_message(holder))
    if code == AGAIN and not os.access(sys.executable, os.X_OK):
        raise OperatorError(
            f"The supervisor cannot restart: {sys.executable} no longer exists. Run florin up; its"
            " supervisor takes over."
        )
    audit_log.append_operation(running.home, order.who, order.what, "done")
    left.set_result(code)
    if code == AGAIN:
        said = "The supervisor is restarting."
        return Reply(said, done=True, document={"restarted": "supervisor"})
    say(
        f"Another supervisor takes over for {order.who} ({order.what}); all other parts keep"
        " running."
    )
    return Reply("The supervisor hands over.", done=True)


def _show(running: FleetContext) -> None:
    shown = welcome.welcome_of(running.home, running.topology.url)
    as_json = running.options.as_json
    document = msgspec.json.encode(shown).decode() if as_json else welcome.format_welcome(shown)
    with contextlib.suppress(OSError):
        print(document, flush=True)
    say("Press Ctrl-C to stop the fleet.")


def _line(fleet: Supervisor, seconds: float) -> str:
    parts = [part for part in fleet.fleet.parts if part.role != "supervisor"]
    states = [
        f"{part.name} {part.state}{f' (restarts: {part.restarts})' if part.restarts else ''}"
        for part in parts
    ]
    return f"  {' · '.join(states)} · up {time.strftime('%H:%M:%S', time.gmtime(seconds))}"


def _listen_to_signals(halt: asyncio.Event, hurry: asyncio.Event) -> None:
    def ask() -> None:
        if halt.is_set():
            hurry.set()
            say("Second signal: stopping all remaining processes at once.")
        halt.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ask)


def _with_advice(message: str) -> str:
    if "No space left on device" in message:
        return f"The disk is full; free at least 300 MB and run this command again. ({message})"
    return message
