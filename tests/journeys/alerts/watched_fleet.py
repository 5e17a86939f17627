"""Watched fleet: a fleet, Prometheus and Alertmanager as in deploy/, and the three receivers."""

import asyncio
import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from florin.ops.fleet import secrets
from florin.ops.fleet.observe import observe_fleet
from florin.ops.gameday.faults import process_tree
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import open_session
from tests.journeys.faults import disks
from tests.ops.replicated_fleet import Fleet
from tests.support import monitoring
from tests.support.monitoring import Prometheus
from tests.support.receivers import (
    Heartbeat,
    MailServer,
    PagerDuty,
    Slack,
    heartbeat,
    mail_server,
    pagerduty,
    slack,
)

EVERY_S = 2  # scrapes and evaluations; deploy/ has 5
DISK_MB = 600  # of the home's own disk, in the long form
_QUIET_WITHIN_S = 120.0


@dataclass(slots=True)
class WatchedFleet:
    """A running fleet with everything that watches it."""

    fleet: Fleet
    prometheus: Prometheus
    mail: MailServer
    chat: Slack
    pager: PagerDuty
    beats: Heartbeat

    @property
    def operations(self) -> str:
        return f"127.0.0.1:{self.fleet.port + 1}"

    def superuser_url(self) -> str:
        """The database of the ledger on the primary; the superuser's own is another one."""
        own, address = secrets.read_secrets(self.fleet.home), self.fleet.primary().address
        assert address is not None
        return postgres.postgres_url(address, postgres.SUPERUSER, own, database=postgres.DATABASE)

    def sql(self, statement: str, *arguments: object) -> list[Any]:
        """Run one statement as the superuser on the primary."""

        async def run() -> list[Any]:
            async with open_session(self.superuser_url()) as connection:
                await connection.execute("set session_replication_role = replica")
                return await connection.fetch(statement, *arguments)

        return asyncio.run(run())

    @contextmanager
    def http(self) -> Generator[httpx.Client]:
        """A client with the API key of the demo merchant; `x-program` names its program."""

        async def copied() -> dict[str, str]:
            async with self.fleet.http() as client:
                return dict(client.headers)

        base = f"http://127.0.0.1:{self.fleet.port}/api/v1"
        with httpx.Client(base_url=base, headers=asyncio.run(copied()), timeout=60) as client:
            yield client

    def pages(self) -> set[str]:
        """The names of the alerts of all open incidents."""
        return {alert_of(each.summary) for each in self.pager.open_incidents()}

    def wait_until_quiet(self) -> None:
        """Wait until no alert fires that anyone receives. Raises AssertionError."""
        deadline = time.monotonic() + _QUIET_WITHIN_S
        # The Watchdog shows that the rules are evaluated at all.
        while (firing := self.prometheus.firing() - {"OutageSymptoms"}) != {"Watchdog"}:
            assert time.monotonic() < deadline, firing
            time.sleep(1)


def alert_of(summary: str) -> str:
    """The alert of a title: `[env] Alert: what is wrong`."""
    return summary.partition("] ")[2].removeprefix("Resolved: ").partition(":")[0]


@contextmanager
def watched_fleet(
    folder: Path, *options: str, disk_mb: int | None = None
) -> Generator[WatchedFleet]:
    """Start all of it; with `disk_mb` the home is on a disk of its own (root)."""
    for name in ("prometheus", "prometheus-alertmanager"):
        monitoring.program(name)  # skips the test before anything is started
    fleet = Fleet(folder / "home", *options)
    with ExitStack() as stack:
        if disk_mb is not None:
            fleet.home.path.mkdir(mode=0o700)
            stack.enter_context(disks.small(disk_mb, at=fleet.home.path))
        stack.callback(_remove, fleet)
        fleet.up()
        mail, chat = stack.enter_context(mail_server()), stack.enter_context(slack())
        pager, beats = stack.enter_context(pagerduty()), stack.enter_context(heartbeat())
        receivers = (mail, chat, pager, f"{beats.base}/")
        port = stack.enter_context(monitoring.alertmanager(*receivers))
        operations = f"127.0.0.1:{fleet.port + 1}"
        server = stack.enter_context(
            monitoring.prometheus(operations, alertmanager=port, every_s=EVERY_S)
        )
        # What Prometheus sends before it knows Alertmanager is lost, and repeated after a minute.
        assert beats.wait_until(lambda: bool(beats.beats), 120), beats.refused
        yield WatchedFleet(fleet, server, mail, chat, pager, beats)


def _remove(fleet: Fleet) -> None:
    for part in observe_fleet(fleet.home).parts:
        if part.pid is not None:  # a frozen one does not stop
            with contextlib.suppress(OSError):
                for pid in process_tree(part.pid):
                    os.kill(pid, signal.SIGCONT)
    fleet.end()
    shutil.rmtree(fleet.home.path, ignore_errors=True)


@contextmanager
def kept_killed(fleet: Fleet, role: str) -> Generator[None]:
    """Kill all parts of a role, and each successor that the supervisor starts."""

    def kill() -> None:
        for pid in _pids(fleet, role):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    with _repeated(kill, every_s=0.1):
        yield


@contextmanager
def kept_frozen(fleet: Fleet, *roles: str) -> Generator[None]:
    """Freeze all parts of these roles, and each successor that the supervisor starts."""
    frozen: set[int] = set()

    def freeze() -> None:
        for pid in _pids(fleet, *roles):
            if pid not in frozen:
                with contextlib.suppress(OSError):
                    for each in process_tree(pid):
                        os.kill(each, signal.SIGSTOP)
                    frozen.add(pid)

    try:
        with _repeated(freeze, every_s=0.2):
            yield
    finally:
        for pid in frozen:
            with contextlib.suppress(OSError):
                for each in process_tree(pid):
                    os.kill(each, signal.SIGCONT)


def _pids(fleet: Fleet, *roles: str) -> list[int]:
    parts = observe_fleet(fleet.home).parts
    return [part.pid for part in parts if part.role in roles and part.pid is not None]


@contextmanager
def _repeated(work: Callable[[], None], *, every_s: float) -> Generator[None]:
    """Do `work` again and again in a thread while the context is open."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            work()
            ended.wait(every_s)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
