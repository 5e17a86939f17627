"""Up: observe, plan and start the fleet; then supervise it until a signal."""

import asyncio
import contextlib
import os
import signal
import time
from functools import partial
from typing import Any

import msgspec

from florin.kit.observability import error_reports
from florin.ops.autoscaling.autoscaler import Autoscaler
from florin.ops.backups import upload
from florin.ops.control import commands, socket, standby
from florin.ops.fleet import welcome
from florin.ops.fleet.options import UpOptions, given_variable
from florin.ops.fleet.orders import Order, Reply, ReportProgress
from florin.ops.haproxy.certificate_renewal import CertificateRenewal
from florin.ops.lifecycle import audit_sealing, publisher, supervisor_reports, takeover
from florin.ops.lifecycle.startup import start_fleet
from florin.ops.lifecycle.succession import AGAIN, HAND_OVER, leave_fleet
from florin.ops.logs import rotation
from florin.ops.metrics.endpoint import serve_metrics
from florin.ops.postgres.failover_monitor import FailoverMonitor
from florin.ops.releases import version
from florin.ops.rollout.executor import FleetContext
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system.console import OperatorError, say, voice
from florin.ops.topology.fleet_spec import resolve_fleet_spec
from florin.ops.valkey import role_monitor
from florin.ops.valkey.topology import SingleDeployment


def run_fleet(options: UpOptions) -> int:
    """Run the fleet in this process until a signal, or until another supervisor takes over; return
    the exit code, or AGAIN.
    """
    rotation.rotation_limits(options.environ)  # an invalid setting stops the start
    options.home.make()
    voice.log_to(options.home.log("supervisor"), only=options.detached)
    handle = options.home.lock()
    if handle is None:
        handle = takeover.take_over(options)
    try:
        supervisor_reports.start_supervisor_reports(options)
        return asyncio.run(_run(options))
    finally:
        error_reports.shut_down()
        os.close(handle)


async def _run(options: UpOptions) -> int:
    named = await asyncio.to_thread(version.current_version, options.checkout)
    fleet = Supervisor(options.home, named)
    halt = asyncio.Event()
    _listen_to_signals(halt, fleet.hurry)
    startup = asyncio.create_task(_start(options, fleet))
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


async def _start(options: UpOptions, fleet: Supervisor) -> FleetContext:
    fleet.state.announce("starting")
    return await start_fleet(resolve_fleet_spec(options, fleet.fleet), fleet)


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
    spec, fleet = running.spec, running.fleet
    left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    busy = set[asyncio.Task[Any]]()

    async def execute(order: Order, report: ReportProgress) -> Reply:
        if left.done():
            raise OperatorError("Another supervisor is taking over; try again in a moment.")
        if (order.verb, order.name) == ("restart", "supervisor"):
            return leave_fleet(running, order, left, AGAIN)
        if order.verb == HAND_OVER:
            return leave_fleet(running, order, left, 0)
        task = asyncio.create_task(commands.execute_order(running, order, report))
        busy.add(task)
        task.add_done_callback(busy.discard)
        return await asyncio.shield(task)

    renewal = CertificateRenewal(running.topology.balancer, spec.tls)
    shipping = upload.start_uploader(
        spec.home, partial(given_variable, spec.environ), running.topology.members
    )
    scaling = Autoscaler(running)
    watches = _watches(running, scaling, renewal)
    async with await socket.serve_orders(spec.home, execute), serve_metrics(running, scaling):
        if not spec.detached:
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
        await asyncio.to_thread(rotation.rotate_logs, running.home, running.spec.environ)
        await renewal.reload_if_changed()
        await asyncio.sleep(1)


def _watches(
    running: FleetContext, scaling: Autoscaler, renewal: CertificateRenewal
) -> list[asyncio.Task[None]]:
    """Start the background tasks that run as long as the fleet."""
    fleet, members, memory = running.fleet, running.topology.members, running.topology.memory
    watch = fleet.watchdog.watch
    upkeep = partial(_upkeep, running, renewal, time.monotonic())
    publishing = partial(publisher.publish_facts, running, lambda: scaling.wanted)
    sealing = partial(audit_sealing.seal_audit, running.home, running.topology.database)
    watches = [
        watch("scaling", scaling.watch),
        watch("upkeep", upkeep),
        watch("operator facts", publishing),
        watch("audit", sealing),
        watch("standby", partial(standby.watch_standby, running)),
    ]
    if members is not None and len(members.servers) > 1:
        watches.append(watch("failover monitor", FailoverMonitor(fleet, members).watch))
    if memory is not None and not isinstance(memory, SingleDeployment):
        watches.append(watch("role monitor", partial(role_monitor.monitor_roles, fleet, memory)))
    return watches


def _show(running: FleetContext) -> None:
    shown = welcome.welcome_of(running.home, running.topology.url)
    as_json = running.spec.as_json
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
