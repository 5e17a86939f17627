"""Observer: keeps the state of the fleet up to date, and says when it has changed."""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec
from prometheus_client.samples import Sample

from florin.ops.alerting import fleet_metrics
from florin.ops.alerting.fleet_metrics import FleetMetrics
from florin.ops.diagnostics import status
from florin.ops.diagnostics.queue_stats import QueueStats
from florin.ops.diagnostics.serving import read_serving
from florin.ops.diagnostics.status import PartStatus
from florin.ops.fleet.model import Fleet
from florin.ops.fleet.observe import check_processes
from florin.ops.operator_page import ledger_view, traffic
from florin.ops.operator_page.curves import CurveRecorder
from florin.ops.operator_page.document import Alerts, Deploy, OperatorState, Summary, WorkerCount
from florin.ops.operator_page.facts import OperatorFacts, read_facts
from florin.ops.operator_page.readings import Reading, format_time, keep_reading
from florin.ops.operator_page.sources import FleetSources
from florin.ops.operator_page.summary import summarize_state
from florin.ops.postgres.replication_lag import ReplicationLag
from florin.ops.system import processes

LOOK_EVERY_S = 0.5
_SEND_EVERY_S = 2.0  # to the streams, also when nothing changed: ages grow
_DRAW_EVERY = 4  # looks
_USAGES = 5  # looks: the load is that of two seconds
_NOTHING = Summary(level="ok", sentence="", detail="", runbook=None)


class FleetObserver:
    """Reads every source in a task of its own; `state()` is what is known at this moment."""

    def __init__(
        self,
        facts_file: Path | None,
        database_url: str | None,
        *,
        alerts: Callable[[], Alerts] = Alerts,
    ) -> None:
        self._file, self._alerts = facts_file, alerts
        self.facts = Reading(OperatorFacts(home=""))
        self.fleet = Fleet()
        self._health = Reading(dict[str, bool]())
        self._queues = Reading(QueueStats())
        self._lag = Reading(dict[str, ReplicationLag]())
        self.balancer = Reading(list[Sample]())
        self.instances = Reading(list[Sample]())
        self.metrics = FleetMetrics()
        self._curves = CurveRecorder()
        self._ledger = ledger_view.LedgerReading()
        self._usage: dict[str, deque[tuple[float, tuple[float, int]]]] = {}
        self._news = asyncio.Event()
        self._shown: tuple[tuple[str, ...], ...] = ()
        self.sources = FleetSources(lambda: self.fleet, database_url, fleet_metrics.NAMES)

    async def run(self) -> None:
        """Observe until cancelled."""
        sources = self.sources
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_fleet())
            for reading, read, every_s, done in (
                (self._health, sources.health, 1.0, self._keep_health),
                (self._queues, sources.queues, 2.0, self._changed),
                (self._lag, sources.lag, 2.0, self._changed),
                (self.balancer, sources.balancer, 3.0, self._keep_balancer),
                (self.instances, sources.instances, 3.0, self._keep_instances),
            ):
                group.create_task(
                    keep_reading(reading, read, every_s=every_s, within_s=4.0, done=done)  # pyright: ignore[reportArgumentType] -- each reading has the type of its source
                )

    def state(self) -> OperatorState:
        now = time.time()
        facts, fleet = self.facts.value, self.fleet
        parts = [self._describe(part.name) for part in fleet.parts]
        numbers = traffic.summarize_traffic(self.metrics, parts, os.cpu_count() or 1)
        state = OperatorState(
            at=format_time(now),
            state=status.fleet_state(fleet, parts),
            home=facts.home,
            parts=parts,
            queues=msgspec.to_builtins(self._queues.value.queues),
            books=ledger_view.describe_ledger(self._ledger, now),
            backups=_with_ages(facts, now),
            function_sets=list(self._queues.value.function_sets),
            summary=_NOTHING,
            serving=read_serving(facts.desired),
            release=facts.desired.release,
            algorithm=facts.desired.algorithm,
            traffic=msgspec.structs.replace(numbers, peak_s=self._curves.peak_s),
            workers=WorkerCount(
                running=sum(p.role == "worker" and p.state == "ready" for p in parts),
                wanted=facts.wanted_workers,
                automatic=facts.desired.workers is None,
            ),
            deploy=deploy_of(facts, fleet),
            alerts=self._alerts(),
            audit=facts.operations,
            curves=self._curves.curves([queue.name for queue in self._queues.value.queues]),
            ages={
                "fleet": self.facts.age(now),
                "health": self._health.age(now),
                "balancer": self.balancer.age(now),
                "instances": self.instances.age(now),
                "queues": self._queues.age(now),
                "lag": self._lag.age(now),
            },
        )
        return msgspec.structs.replace(state, summary=summarize_state(state))

    def collections(self) -> tuple[FleetMetrics, dict[str, float]]:
        """Return the metrics, and when those of each source were collected last."""
        times = {"balancer": self.balancer.at, "processes": self.instances.at}
        return self.metrics, times

    def page_url(self) -> str:
        """Return the page's URL on the fleet's operations port, as an operator reaches it."""
        balancer = next(iter(self.fleet.of("balancer")), None)
        address = balancer.operations if balancer is not None else None
        return f"http://{address or 'localhost'}/operator"

    async def states(self) -> AsyncGenerator[OperatorState]:
        """Yield the state now, at each change, and every two seconds."""
        while True:
            news = self._news  # before the state is made: no change is missed
            yield self.state()
            try:
                async with asyncio.timeout(_SEND_EVERY_S):
                    await news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(0.2)  # several sources often change at the same time

    async def _watch_fleet(self) -> None:
        """Read the facts, and check every process without them: the supervisor may be dead."""
        turn = 0
        while True:
            if self._file is not None:
                try:
                    at, facts = await asyncio.to_thread(read_facts, self._file)
                    self.facts.keep(facts, at)
                except (OSError, msgspec.DecodeError) as error:
                    self.facts.error = f"{self._file}: {error}"
            self.fleet = check_processes(self.facts.value.fleet)
            self._measure()
            self._changed()
            turn += 1
            if turn % _DRAW_EVERY == 0:
                self._curves.add(self.state())
            await asyncio.sleep(LOOK_EVERY_S)

    def _measure(self) -> None:
        """Keep the usage of each process in the last two seconds, to compute its load."""
        for part in self.fleet.parts:
            if part.process is not None:
                kept = self._usage.setdefault(part.name, deque(maxlen=_USAGES))
                kept.append((time.monotonic(), processes.process_usage(part.process)))

    def _describe(self, name: str) -> PartStatus:
        part = self.fleet.part(name)
        assert part is not None
        usages = self._usage.get(name)
        at, before = usages[0] if usages else (0.0, None)
        seconds = max(LOOK_EVERY_S, time.monotonic() - at)
        # A part that has not been asked yet counts as its supervisor recorded it.
        health = self._health.value.get(name, True)
        shown = status.describe_part(part, health, before, seconds)
        busy = self._queues.value.busy(name) if part.role == "worker" else None
        shown = msgspec.structs.replace(shown, lag=self._lag.value.get(name), queue=busy)
        return status.show_standby(shown, self.facts.value.desired.standby)

    def _keep_health(self) -> None:
        """Keep the probes as Prometheus keeps its own: an instance that ended counts as down."""
        health = self._health.value
        self.metrics.up["florin-api"] = [
            health.get(part.name, False) for part in self.fleet.of("api") if not part.drained
        ]
        self._changed()

    def _keep_balancer(self) -> None:
        if not self.balancer.error:
            self.metrics.add_balancer(self.balancer.at, self.balancer.value)
        self._changed()

    def _keep_instances(self) -> None:
        if not self.instances.error:
            self.metrics.add_processes(self.instances.at, self.instances.value)
            self._ledger = ledger_view.read_ledger(self.metrics.processes, self._ledger)
        self._changed()

    def _changed(self) -> None:
        """Wake the streams if a part's state, or a source's failure, is another one."""
        parts = ((p.name, p.state, str(p.pid), p.note, str(p.drained)) for p in self.fleet.parts)
        errors = tuple(
            each.error
            for each in (self.facts, self._health, self._queues, self._lag, self.instances)
        )
        health = tuple(name for name, well in self._health.value.items() if not well)
        shown = (*parts, errors, health)
        if shown != self._shown:
            self._shown = shown
            self._news.set()
            self._news = asyncio.Event()


def _with_ages(facts: OperatorFacts, now: float) -> dict[str, dict[str, object]]:
    aged: dict[str, dict[str, object]] = {}
    for what, each in facts.backups.items():
        at = each.get("at") or 0.0
        more = {key: value for key, value in each.items() if key != "at"}
        aged[what] = {"age_s": round(now - at, 1) if at else None, **more}
    return aged


def deploy_of(facts: OperatorFacts, fleet: Fleet) -> Deploy | None:
    """Return the change that is being carried out, with how far it is."""
    change = facts.operation
    if change is None or not change.goal:
        return None
    goal = change.undo if change.undoing else change.goal
    reached = 0
    for name, mark in goal.items():
        part = fleet.part(name)
        same = part is not None and (part.release, part.generation) == (
            mark.release,
            mark.generation,
        )
        reached += bool(same and part is not None and part.state == "ready")
    return Deploy(
        what=change.what,
        who=change.who,
        since=format_time(change.since),
        release=change.release or next(iter(goal.values())).release,
        replaced=reached,
        total=len(goal),
        undoing=change.undoing,
    )
