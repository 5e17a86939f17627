"""Takeover: `florin up` while a supervisor runs: the new one replaces it, other parts keep running.

Changes that the options request are first sent to the running supervisor as orders, with its lock
and its refusals. Only then does it hand over, so that a mistake leaves the fleet supervised.
"""

import asyncio
import os
import time

from florin.ops.control import socket
from florin.ops.fleet import audit_log, orders
from florin.ops.fleet.desired_state import DesiredState, load_desired_state
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Part
from florin.ops.fleet.observe import find_supervisor, observe_fleet
from florin.ops.fleet.options import UpOptions
from florin.ops.fleet.orders import Order
from florin.ops.haproxy import frontend
from florin.ops.lifecycle.succession import HAND_OVER
from florin.ops.system import processes
from florin.ops.system.console import OperatorError, say
from florin.ops.topology.fleet_spec import resolve_fleet_spec

_ANSWERS_WITHIN_S = 10.0
_GONE_WITHIN_S = 30.0
_POLL_S = 0.05


def find_ready_supervisor(home: Home) -> Part | None:
    """Return the running supervisor. Raises OperatorError while it is starting."""
    part = find_supervisor(observe_fleet(home))
    if part is not None and part.state != "ready":
        raise _starting(home, part)
    return part


def take_over(options: UpOptions) -> int:
    """Make the running supervisor end, no other part; return its lock. Raises OperatorError."""
    home = options.home
    before = find_ready_supervisor(home)
    if before is None or before.process is None:
        raise _starting(home, None)  # it has the lock and has not recorded itself yet
    # Only its refusals count here: until the running supervisor has handed over, it may change what
    # the spec of this start is resolved from.
    resolve_fleet_spec(options, observe_fleet(home))
    apply_options(options)
    say(f"Taking over from the supervisor (pid {before.pid}); all other parts keep running.")
    me = processes.find_process(os.getpid())
    assert me is not None
    successor = {"pid": me.pid, "started": me.started}
    what = f"florin up (pid {me.pid})"
    order = Order(HAND_OVER, who=_who(options), what=what, options=successor)
    _ask(home, before, order, within_s=_ANSWERS_WITHIN_S)
    deadline = time.monotonic() + _GONE_WITHIN_S
    while time.monotonic() < deadline:
        handle = home.lock()
        if handle is not None:
            return handle
        time.sleep(_POLL_S)
    raise _silent(home, before)


def apply_options(options: UpOptions) -> bool:
    """Send the changes that the options request to the running supervisor.

    Returns whether there were any. Raises OperatorError with its refusal.
    """
    before, kept = find_ready_supervisor(options.home), load_desired_state(options.home)
    if before is None:
        return False
    wanted = differing_options(options, kept)
    for verb, name, counts in wanted:
        words = " ".join([*(f"{part}={n}" for part, n in counts.items()), *([name] * bool(name))])
        say(f"The fleet is already running; applying the options with florin {verb} {words}.")
        what = f"florin {verb} {words}"
        _ask(
            options.home,
            before,
            Order(verb, name=name, who=_who(options), what=what, options=counts),
        )
    return bool(wanted)


def differing_options(
    options: UpOptions, kept: DesiredState
) -> list[tuple[str, str, dict[str, str]]]:
    """Return the orders (verb, name, counts) that give the running fleet the requested options."""
    requested, counts = options.requested.applied_to(kept), dict[str, str]()
    if requested.api != kept.api:
        counts["api"] = str(requested.api)
    if requested.workers != kept.workers:
        counts["workers"] = "auto" if requested.workers is None else str(requested.workers)
    wanted: list[tuple[str, str, dict[str, str]]] = [("scale", "", counts)] if counts else []
    if requested.algorithm != kept.algorithm:
        wanted.append(("balance", requested.algorithm, {}))
    return wanted


def needs_takeover(options: UpOptions, before: Part) -> bool:
    """Return whether `--detach` needs a new supervisor.

    Needed for another port, certificate or number of replicas, which only a start arranges, and
    when the running supervisor is attached to a terminal: the new one runs in the background.
    """
    home, kept = options.home, load_desired_state(options.home)
    runs = frontend.current_frontend(observe_fleet(home), home.layout(), kept)
    requested = options.requested.applied_to(kept)
    assert before.pid is not None
    return (
        options.port not in (None, runs.port or options.port)
        or options.operations_port not in (None, runs.operations_port)
        or options.tls not in (None, runs.tls)
        or (requested.replicas, requested.valkey) != (kept.replicas, kept.valkey)
        or os.getsid(before.pid) != before.pid
    )


def _ask(home: Home, before: Part, order: Order, within_s: float | None = None) -> None:
    async def send() -> orders.Reply:
        async with asyncio.timeout(within_s):
            return await socket.send_order(home, order, report=say)

    try:
        reply = asyncio.run(send())
    except TimeoutError:
        raise _silent(home, before) from None
    if not reply.done:
        raise OperatorError(reply.message)


def _who(options: UpOptions) -> str:
    return audit_log.operator_name(options.environ)


def _starting(home: Home, part: Part | None) -> OperatorError:
    pid = f" (pid {part.pid})" if part is not None else ""
    return OperatorError(
        f"A supervisor{pid} of {home.path} is starting or stopping; try again in a moment."
    )


def _silent(home: Home, before: Part) -> OperatorError:
    return OperatorError(
        f"The supervisor (pid {before.pid}) does not answer; see {home.log('supervisor')}. To"
        f" replace it, run kill -KILL {before.pid} (all other parts keep running), then florin up."
    )
