"""Collector: measure the fleet for a scrape of /metrics/fleet."""

import asyncio
import os
import time
from collections import deque
from pathlib import Path

from cryptography import x509
from prometheus_client import Gauge, generate_latest

from florin.ops.fleet import operation_lock, secrets
from florin.ops.fleet.model import Part
from florin.ops.metrics import definitions as metrics
from florin.ops.metrics.part_usage import read_usage
from florin.ops.metrics.server_facts import read_postgres, read_valkey
from florin.ops.rollout.executor import FleetContext
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from florin.ops.valkey import users

_EVERY_S = 1.0
_LAG_EVERY_S, _LAGS = 0.25, 240  # samples of a minute
_MEMORY = Path("/proc/meminfo")
_UP_STATES = ("ready", "draining", "standby")


class FleetCollector:
    """Measures at most once a second, and only when it is asked."""

    def __init__(self, running: FleetContext) -> None:
        self._running = running
        self._at = 0.0
        self._lock = asyncio.Lock()
        self._lags = deque[float](maxlen=_LAGS)
        self._valkey_primaries: frozenset[str] = frozenset()

    async def text(self) -> str:
        """Return the metrics in Prometheus' text format."""
        async with self._lock:
            if time.monotonic() >= self._at + _EVERY_S:
                await self._measure()
                self._at = time.monotonic()
        return (await asyncio.to_thread(generate_latest, metrics.registry)).decode()

    async def watch_lag(self) -> None:
        """Sample how late timers fire, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self._lags.append(max(0.0, loop.time() - due))

    async def _measure(self) -> None:
        await asyncio.to_thread(self._measure_machine)
        await asyncio.gather(self._measure_postgres(), self._measure_valkey())
        metrics.supervisor_lag.set(max(self._lags, default=0.0))
        running = operation_lock.load_operation(self._running.home)
        metrics.operation_running.set(running is not None)

    def _measure_machine(self) -> None:
        """Blocking, since it reads files: runs in a thread."""
        parts = [part for part in self._running.fleet.fleet.parts if not part.given]
        labels = {(part.name, part.role) for part in parts}
        for gauge in (metrics.part_up, metrics.part_memory, metrics.part_files):
            _forget_others(gauge, labels)
        cpu: dict[tuple[str, ...], float] = {}
        for part in parts:
            name = (part.name, part.role)
            metrics.part_up.labels(*name).set(_is_up(part))
            # The children of the supervisor are the other parts.
            own = part.role != "supervisor"
            usage = read_usage(part.pid, with_children=own) if part.pid is not None else None
            if usage is not None:
                cpu[name] = usage.cpu_s
                metrics.part_memory.labels(*name).set(usage.memory)
                metrics.part_files.labels(*name).set(usage.files)
                metrics.part_files_limit.labels(*name).set(usage.files_limit)
        metrics.part_cpu.set_all(cpu)
        metrics.part_restarts.set_all({(each.name, each.role): each.restarts for each in parts})
        self._measure_disks()
        _measure_memory()
        self._measure_certificate()

    def _measure_disks(self) -> None:
        members = self._running.topology.members
        folders = {"home": self._running.home.path}
        if members is not None:
            folders["data"] = members.primary().data
        for name, folder in folders.items():
            try:
                disk = os.statvfs(folder)
            except OSError:
                continue
            metrics.disk_free.labels(name).set(disk.f_bavail * disk.f_frsize)
            metrics.disk_size.labels(name).set(disk.f_blocks * disk.f_frsize)

    def _measure_certificate(self) -> None:
        pair = self._running.spec.tls
        if pair is None:
            return
        try:
            certificate = x509.load_pem_x509_certificate(pair[0].read_bytes())
        except (OSError, ValueError):
            return  # it is being replaced; the value stays
        metrics.certificate_expiry.labels("public").set(certificate.not_valid_after_utc.timestamp())

    async def _measure_postgres(self) -> None:
        members = self._running.topology.members
        if members is None:
            return
        found = await read_postgres(members.servers)
        sync = metrics.postgres_sync_standbys
        for gauge in (metrics.postgres_primary, metrics.postgres_standbys, sync):
            gauge.clear()
        for name, row in found.items():
            metrics.postgres_up.labels(name).set(row is not None)
            if row is None:
                continue
            metrics.postgres_primary.labels(name).set(row["primary"])
            metrics.postgres_timeline.labels(name).set(row["timeline"])
            if row["primary"]:
                metrics.postgres_standbys.labels(name).set(row["standbys"])
            if row["primary"] and row["waits"]:
                sync.labels(name).set(row["sync_standbys"])
        up = {name: row for name, row in found.items() if row is not None}
        metrics.postgres_archived.set_all({(name,): up[name]["archived_count"] for name in up})
        metrics.postgres_archive_failures.set_all(
            {(name,): up[name]["failed_count"] for name in up}
        )
        metrics.postgres_switches.set_all({(): members.record().switches})

    async def _measure_valkey(self) -> None:
        try:
            password = secrets.read_secrets(self._running.home).get(users.OPERATOR_SECRET, "")
        except OperatorError:
            return
        found = await read_valkey(self._running.fleet.fleet, password)
        metrics.valkey_primary.clear()
        for name, facts in found.items():
            metrics.valkey_up.labels(name).set(facts is not None)
            if facts is None:
                continue
            metrics.valkey_primary.labels(name).set(facts.primary)
            metrics.valkey_memory.labels(name).set(facts.memory)
            metrics.valkey_memory_limit.labels(name).set(facts.memory_limit)
            metrics.valkey_clients.labels(name).set(facts.clients)
        up = {name: facts for name, facts in found.items() if facts is not None}
        metrics.valkey_commands.set_all({(name,): facts.commands for name, facts in up.items()})
        metrics.valkey_evicted.set_all({(name,): facts.evicted for name, facts in up.items()})
        primaries = frozenset(name for name, facts in up.items() if facts.primary)
        if primaries and self._valkey_primaries and primaries - self._valkey_primaries:
            metrics.valkey_changes.inc()
        self._valkey_primaries = primaries or self._valkey_primaries


def _is_up(part: Part) -> bool:
    alive = part.process is not None and processes.is_alive(part.process)
    return alive and part.state in _UP_STATES


def _forget_others(gauge: Gauge, labels: set[tuple[str, str]]) -> None:
    """Drop the series of parts that are gone or have another role."""
    for metric in gauge.collect():
        for sample in metric.samples:
            name = (sample.labels["part"], sample.labels["role"])
            if name not in labels:
                gauge.remove(*name)


def _measure_memory() -> None:
    metrics.machine_cpus.set(os.cpu_count() or 1)
    metrics.machine_load.set(os.getloadavg()[0])
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text("utf-8").splitlines())
    except OSError:
        return
    metrics.machine_memory.set(int(lines["MemTotal"].split()[0]) * 1024)
    metrics.machine_memory_available.set(int(lines["MemAvailable"].split()[0]) * 1024)
