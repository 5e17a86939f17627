"""Up: observe, plan, act; then watch until somebody says stop."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec

from florin.ops import api, control, release, topology, welcome
from florin.ops.act import Died
from florin.ops.control import Order
from florin.ops.launch import trim
from florin.ops.observe import observe, supervisor
from florin.ops.options import Options
from florin.ops.supervise import Supervisor
from florin.ops.tell import Unable, say, timed, voice
from florin.ops.topology import Topology
from florin.ops.wanted import Step, plan


def up(options: Options) -> int:
    """Run the fleet in this process until a signal; return the exit code."""
    options.home.make()
    handle = options.home.lock()
    if handle is None:
        holder = supervisor(observe(options.home))
        pid = f" (pid {holder.pid})" if holder else ""
        raise Unable(
            f"A supervisor{pid} already runs the fleet of {options.home.path}; see florin status,"
            " or stop it with florin down."
        )
    try:
        return asyncio.run(_run(options))
    finally:
        os.close(handle)


async def _run(options: Options) -> int:
    named = await asyncio.to_thread(release.current, options.checkout)
    fleet = Supervisor(options.home, named)
    halt = asyncio.Event()
    _listen_to_signals(halt, fleet.hurry)
    rising = asyncio.create_task(_rise(options, fleet))
    halted = asyncio.create_task(halt.wait())
    await asyncio.wait({rising, halted}, return_when=asyncio.FIRST_COMPLETED)
    if not rising.done():
        rising.cancel()
        await asyncio.gather(rising, return_exceptions=True)
        say("Stopped while starting.")
        await fleet.stop_all()
        return 0
    try:
        rising.result()
    except (Unable, Died) as error:
        await fleet.stop_all(spare_adopted=True)
        raise Unable(_plain(str(error))) from None
    await _watch(options, fleet, halt)
    return 0


async def _rise(options: Options, fleet: Supervisor) -> None:
    fleet.announce("starting")
    _require_port(options, fleet)
    wanted = await topology.arrange(options, fleet.fleet, fleet.release)
    fleet.show_given(wanted.given)
    steps = plan(fleet.fleet, wanted.wanted)
    for step in steps:
        await _take(step, options, fleet, wanted)
    address = wanted.wanted[-1].address
    if options.development:
        await welcome.ensure(options.home, address, options.commands.demo, wanted.environ)
    fleet.announce("ready", address)


async def _take(step: Step, options: Options, fleet: Supervisor, wanted: Topology) -> None:
    if step.verb in ("stop", "replace"):
        await fleet.stop(step.name)
        say(f"Stopped {step.name}, which no longer fits.")
    if step.verb == "stop":
        return
    want = next(want for want in wanted.wanted if want.name == step.name)
    if step.verb == "adopt":
        fleet.adopt(want)
        part = fleet.fleet.part(want.name)
        say(f"{want.name} already runs (pid {part.pid if part else '?'}); adopted.")
        return
    if want.role == "api":
        with timed("Migrating the database"):
            await _migrate(options, wanted.environ)
    with timed(f"Starting {want.name} ({want.release}) at {want.address}"):
        await fleet.start(want)


async def _migrate(options: Options, environ: dict[str, str]) -> None:
    child = await asyncio.create_subprocess_exec(
        *options.commands.migrate,
        env=environ,
        cwd=Path("/"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = await child.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        raise
    if child.returncode != 0:
        words = said.decode(errors="replace").strip().splitlines()
        raise Unable(words[-1] if words else f"florin migrate ended with {child.returncode}.")


async def _watch(options: Options, fleet: Supervisor, halt: asyncio.Event) -> None:
    async def obey(order: Order) -> str:
        if order.verb == "restart":
            await fleet.restart(order.name)
            return f"{order.name} was restarted."
        raise Unable(f"This supervisor does not know {order.verb}; restart it with florin up.")

    async with await control.listen(options.home, obey):
        if not options.detached:
            _show(options, fleet)
        begun = time.monotonic()
        while not halt.is_set():
            voice.status(_line(fleet, time.monotonic() - begun))
            for part in fleet.fleet.parts:
                await asyncio.to_thread(trim, options.home.log(part.name))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(halt.wait(), 1)
    voice.clear()
    say("Stopping.")
    await fleet.stop_all()


def _show(options: Options, fleet: Supervisor) -> None:
    me = fleet.fleet.part("supervisor")
    shown = welcome.of(options.home, me.address if me and me.address else "")
    document = msgspec.json.encode(shown).decode() if options.as_json else welcome.text(shown)
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


def _require_port(options: Options, fleet: Supervisor) -> None:
    """Say that the port is taken before anything starts; our own instance may sit on it."""
    part = fleet.fleet.part(api.NAME)
    if part is None or part.process is None:
        api.require_port(options)


def _plain(sentence: str) -> str:
    if "No space left on device" in sentence:
        return f"The disk is full; free at least 300 MB and run this again. ({sentence})"
    return sentence
