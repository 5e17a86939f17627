"""Status: the current state of every part, as a document and as a table."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from florin.kit.postgres.function_sets import FunctionSet
from florin.ops.backups import status as saved
from florin.ops.diagnostics import queue_stats
from florin.ops.diagnostics.serving import (
    ServingStatus,
    format_serving,
    format_span,
    read_serving,
)
from florin.ops.fleet import desired_state, welcome
from florin.ops.fleet.desired_state import StandbySet
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Part
from florin.ops.fleet.observe import find_supervisor, is_serving, observe_fleet
from florin.ops.postgres import replication_lag
from florin.ops.postgres.replication_lag import ReplicationLag
from florin.ops.system import http_probe, processes
from florin.ops.valkey import role_monitor

_SAMPLE_S = 0.2
_OK = 200


class ProcessUsage(msgspec.Struct, frozen=True):
    cpu: float  # of one core
    memory_mb: float


class PartStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One part in the document."""

    name: str
    role: str
    colour: str | None  # of an API instance: blue or green
    release: str
    state: str
    pid: int | None
    address: str | None
    operations: str | None  # HOST:PORT of its metrics; the balancer's has those of the whole fleet
    health: str  # "ok", "failing", or "none" if it does not run
    load: ProcessUsage | None
    lag: ReplicationLag | None  # of a replica of PostgreSQL
    queue: str | None  # of a worker: busy / all slots, by its last heartbeat
    uptime: float | None
    restarts: int
    note: str


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `florin status --json`."""

    state: str  # ready | degraded | stopped
    home: str
    serving: ServingStatus
    parts: list[PartStatus]
    queues: list[dict[str, Any]]
    books: dict[str, Any]
    backups: dict[str, Any]  # see `backup_document`
    function_sets: list[FunctionSet]


async def read_status(home: Home) -> FleetStatus:
    """Return the state of the fleet; changes nothing."""
    fleet = order_parts(observe_fleet(home))
    before = {
        part.name: processes.process_usage(part.process) for part in fleet.parts if part.process
    }
    begun = time.monotonic()
    looking = asyncio.gather(
        queue_stats.read_queue_stats(home),
        replication_lag.read_lag(home, fleet),
        role_monitor.read_roles(home, fleet),
    )
    answers = await asyncio.gather(*(is_serving(part) for part in fleet.parts), _books(home, fleet))
    looked, lags, roles = await looking
    await asyncio.sleep(max(0.0, _SAMPLE_S - (time.monotonic() - begun)))
    seconds = time.monotonic() - begun
    *healths, books = answers
    # Valkey servers elect their roles themselves; one that does not report its role is failing.
    silent = {name for name, role in roles.items() if role is None}
    parts = [
        msgspec.structs.replace(
            describe_part(
                part, bool(health) and part.name not in silent, before.get(part.name), seconds
            ),
            role=roles.get(part.name) or part.role,
            lag=lags.get(part.name),
            queue=looked.busy(part.name) if part.role == "worker" else None,
        )
        for part, health in zip(fleet.parts, healths, strict=True)
    ]
    kept = desired_state.load_desired_state(home)
    parts = [show_standby(part, kept.standby) for part in parts]
    return FleetStatus(
        state=fleet_state(fleet, parts),
        home=str(home.path),
        serving=read_serving(kept),
        parts=parts,
        queues=msgspec.to_builtins(looked.queues),
        books=books if isinstance(books, dict) else {"balanced": None},
        backups=saved.backup_document(home),
        function_sets=list(looked.function_sets),
    )


def order_parts(fleet: Fleet) -> Fleet:
    """Sort instances and workers by number, at the position of the first one."""
    many = ("api", "worker")
    numbered = [part for part in fleet.parts if part.role in many]
    numbered.sort(key=lambda part: (part.role, len(part.name), part.name))
    others = [part for part in fleet.parts if part.role not in many]
    place = next((i for i, part in enumerate(fleet.parts) if part.role in many), len(others))
    return Fleet(parts=(*others[:place], *numbered, *others[place:]))


def describe_part(
    part: Part, health: bool, before: tuple[float, int] | None, seconds: float
) -> PartStatus:
    """Return the part as shown; `before` is its usage `seconds` ago (`processes.process_usage`)."""
    runs = part.process is not None or part.given
    state = part.state
    if runs and state == "ready" and not health:
        state = "failed"
    load = None
    if part.process is not None and before is not None:
        used, held = processes.process_usage(part.process)
        cpu = max(0.0, used - before[0]) / seconds
        load = ProcessUsage(cpu=round(cpu, 3), memory_mb=round(held / 2**20, 1))
    return PartStatus(
        name=part.name,
        role=part.role,
        colour=desired_state.colour_of(part.name) if part.role == "api" else None,
        release=part.release,
        state=state,
        pid=part.pid,
        address=part.address,
        operations=part.operations if runs else None,
        health=("ok" if health else "failing") if runs else "none",
        load=load,
        lag=None,
        queue=None,
        uptime=round(max(0.0, time.time() - part.since), 1) if part.process else None,
        restarts=part.restarts,
        note=part.note,
    )


def show_standby(part: PartStatus, standby: StandbySet | None) -> PartStatus:
    """Show a drained instance of the standby as such: it waits, and is not a fault."""
    if standby is None or part.name not in standby.marks or part.state != "draining":
        return part
    return msgspec.structs.replace(part, state="standby" if part.health == "ok" else "failed")


def fleet_state(fleet: Fleet, parts: list[PartStatus]) -> str:
    """Return ready, degraded or stopped."""
    if not any(part.process for part in fleet.parts):
        return "stopped"
    whole = find_supervisor(fleet) is not None and all(
        part.state in ("ready", "standby")
        # Workers start and stop with the load.
        or (part.role == "worker" and part.state in ("starting", "draining"))
        for part in parts
    )
    return "ready" if whole else "degraded"


async def _books(home: Home, fleet: Fleet) -> dict[str, Any]:
    """Read the ledger proof of the demo merchant from a running instance."""
    demo = welcome.read_demo(home)
    for part in fleet.of("api"):
        if part.process is None or part.address is None or demo is None:
            continue
        headers = {"Authorization": f"Bearer {demo.api_key}"}
        answer = await http_probe.probe(
            part.address, "/api/v1/ledger/proof", headers=headers, within_s=5
        )
        if answer is not None and answer.status == _OK and isinstance(answer.json(), dict):
            return {"balanced": answer.json().get("balanced"), "merchant": demo.merchant}
    return {"balanced": None}


def format_status(shown: FleetStatus) -> str:
    """Return the document as text."""
    if shown.state == "stopped":
        return f"The fleet of {shown.home} is stopped. Start it with florin up."
    rows = [("NAME", "STATE", "ADDRESS", "PID", "UP", "CPU", "MEMORY", "BUSY", "LAG", "RELEASE")]
    rows += [
        (
            part.name,
            part.state if part.health != "failing" else f"{part.state} (no answer)",
            part.address or "",
            str(part.pid or ""),
            format_span(part.uptime),
            f"{part.load.cpu:.0%}" if part.load else "",
            f"{part.load.memory_mb:.0f} MB" if part.load else "",
            part.queue or "",
            replication_lag.format_lag(part.lag),
            part.release,
        )
        for part in shown.parts
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += format_serving(shown.serving)
    balanced = shown.books.get("balanced")
    proof = {True: "balanced", False: "NOT BALANCED", None: "not checked (no instance answers)"}
    lines.append(f"Ledger: {proof[balanced]}.")
    lines += filter(None, [saved.backup_line(shown.backups)])
    lines += function_set_lines(shown.function_sets)
    lines += _queues(shown.queues)
    lines += [f"{part.name}: {part.note}" for part in shown.parts if part.note]
    leader = next((part for part in shown.parts if part.role == "supervisor"), None)
    if leader is None or leader.pid is None:
        lines.append("No supervisor is running. Run florin up: it adopts the running parts.")
    return "\n".join(lines)


def function_set_lines(sets: Iterable[FunctionSet]) -> list[str]:
    return [
        f"SQL functions {each.name}: of {', '.join(each.releases) or 'no stored release'};"
        f" called by {', '.join(each.processes) or 'no process'}"
        for each in sets
    ]


def _queues(queues: list[dict[str, Any]]) -> list[str]:
    """Return one line for each queue that has jobs or is paused."""
    states = ("waiting", "active", "delayed", "dead")
    return [
        f"Queue {queue['name']}: "
        + ("paused (resume: florin queue resume); " if queue["paused"] else "")
        + (", ".join(f"{queue[s]} {s}" for s in states if queue[s]) or "no jobs")
        + (f"; the oldest has waited {queue['oldest_s']:.0f} s" if queue["waiting"] else "")
        for queue in queues
        if queue["paused"] or any(queue[state] for state in states)
    ]
