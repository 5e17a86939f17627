"""Faults: what can go wrong, how to see that it did, and the alert that must arrive."""

import json
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from florin.bench.scenarios import faulty_releases
from florin.cards.codes import make_code
from florin.kit import ids
from florin.ops.fleet.observe import observe_fleet
from tests.journeys.alerts import database_faults
from tests.journeys.alerts.fault_case import PAGE, TICKET, Inject, case
from tests.journeys.alerts.watched_fleet import WatchedFleet, kept_frozen, kept_killed


def frozen(*roles: str) -> Inject:
    @contextmanager
    def inject(watched: WatchedFleet) -> Generator[None]:
        with kept_frozen(watched.fleet, *roles):
            yield

    return inject


@contextmanager
def smuggled_cent(watched: WatchedFleet) -> Generator[None]:
    [card] = watched.sql("select id from florin.account order by id limit 1")
    change = "update florin.account set balance = balance + $2 where id = $1 returning 1"
    assert watched.sql(change, card["id"], 1)
    yield
    assert watched.sql(change, card["id"], -1)


@contextmanager
def dead_job(watched: WatchedFleet) -> Generator[None]:
    """A job that no attempt can complete: what it belongs to does not exist."""
    payload = {"merchant": str(ids.new_id()), "job": str(ids.new_id())}

    watched.sql(
        "insert into florin.outbox (queue, kind, payload, version, priority)"
        " values ('bulk', 'issue', $1::text::jsonb, 1, 0)",
        json.dumps(payload),
    )
    yield


@contextmanager
def guessed_codes(watched: WatchedFleet) -> Generator[None]:
    refused = 0
    with watched.http() as http:
        for _ in range(600):
            answer = http.post("/cards/lookup", json={"code": make_code()})
            refused += answer.status_code == 429
            if refused >= 40:
                break
    assert refused >= 40
    yield


def killed(role: str) -> Inject:
    @contextmanager
    def inject(watched: WatchedFleet) -> Generator[None]:
        with kept_killed(watched.fleet, role):
            yield

    return inject


@contextmanager
def changed_primary(watched: WatchedFleet) -> Generator[None]:
    primary = watched.fleet.primary()
    assert watched.fleet.florin("failover").returncode == 0
    assert watched.fleet.primary().name != primary.name
    yield


@contextmanager
def undone_deploy(watched: WatchedFleet) -> Generator[None]:
    release = faulty_releases.make_faulty_release(
        watched.fleet.home.path.parent / "releases", "does not start"
    )
    said = watched.fleet.florin("deploy", "--soak", "1s", "--release", str(release))
    assert said.returncode != 0
    yield


@contextmanager
def paused_queue(watched: WatchedFleet) -> Generator[None]:
    """The queue of expiry is paused; its schedule adds a job every minute."""
    assert watched.fleet.florin("queue", "pause", "gift-card-expiry").returncode == 0
    yield
    assert watched.fleet.florin("queue", "resume", "gift-card-expiry").returncode == 0


@contextmanager
def flooded_queue(watched: WatchedFleet) -> Generator[None]:
    """More jobs arrive than are worked on: the queue of expiry is paused."""
    assert watched.fleet.florin("queue", "pause", "gift-card-expiry").returncode == 0
    flood = (
        "insert into florin.outbox (queue, kind, payload, version, priority)"
        " select 'gift-card-expiry', 'sweep', '{}', 1, 0 from generate_series(1, 10500)"
    )
    watched.sql(flood)
    yield
    assert watched.fleet.florin("queue", "resume", "gift-card-expiry").returncode == 0


@contextmanager
def killed_supervisor(watched: WatchedFleet) -> Generator[None]:
    part = observe_fleet(watched.fleet.home).part("supervisor")
    assert part is not None
    assert part.pid is not None
    os.kill(part.pid, signal.SIGKILL)
    yield
    watched.fleet.up()


@contextmanager
def full_disk(watched: WatchedFleet) -> Generator[None]:
    """Fill the home's disk, which is a small one of the test, but for 400 MB."""
    home = watched.fleet.home.path
    filler, least = home / "filler", 400 * 2**20
    free = os.statvfs(home).f_bavail * os.statvfs(home).f_frsize
    assert 512 * 2**20 < free < 1024 * 2**20, "the fleet has no disk of its own"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - least)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def failing_archive(watched: WatchedFleet) -> Generator[None]:
    """No server may write into the archive of the log; a backup has created it."""
    assert watched.fleet.florin("backup").returncode == 0
    archive = Path(watched.fleet.home.layout().data_dir or "") / "archive"
    mode = archive.stat().st_mode
    failed = "select failed_count, pg_switch_wal() from pg_stat_archiver"
    archive.chmod(0o500)
    try:
        watched.sql(failed)
        yield
        assert watched.sql(failed)[0]["failed_count"] > 0
    finally:
        archive.chmod(mode)


LOST = ("DatabaseUnreachable", "InstancesDown")
ERRORS = ("Overloaded", "MoneyErrorsFast", "MoneySlowFast")
CASES = (
    case("a cent is smuggled in", "LedgerUnbalanced", smuggled_cent, PAGE, 60),
    case("a job dies", "JobsDead", dead_job, TICKET, 60, heals_s=720),
    case("codes are guessed", "CodesGuessed", guessed_codes, TICKET, 60, heals_s=420),
    case("no worker stays alive", "NoWorker", killed("worker"), PAGE, 120, heals_s=300),
    case("Valkey is frozen", "ValkeyDown", frozen("valkey-primary"), TICKET, 120, heals_s=240),
    case(
        "the replica is frozen", "ReplicaLag", frozen("postgres-replica"), TICKET, 120, heals_s=240
    ),
    case(
        "connections are used up",
        "ConnectionsExhausted",
        database_faults.no_connections,
        PAGE,
        120,
        heals_s=240,
    ),
    case("a deploy is undone", "ChangeUndone", undone_deploy, TICKET, 60, heals_s=1020),
    case("a queue is paused", "QueueLate", paused_queue, TICKET, 300),
    case(
        "a transaction stays open",
        "IdleTransaction",
        database_faults.idle_transaction,
        TICKET,
        240,
    ),
    case("another server is primary", "PrimaryChanged", changed_primary, TICKET, 120, heals_s=900),
    case(
        "a queue is flooded",
        "QueueLong",
        flooded_queue,
        TICKET,
        240,
        also=("QueueLate", "QueueVeryLate", "QueueGrows"),
        heals_s=300,
    ),
    case(
        "the ledger is slow",
        "MoneySlowFast",
        database_faults.slow_ledger,
        PAGE,
        240,
        also=("IdleTransaction", "RequestsVerySlow"),
        heals_s=540,
    ),
    case(
        "a right of the application is revoked",
        "ErrorsFast",
        database_faults.revoked_right,
        PAGE,
        180,
        also=ERRORS,
        heals_s=540,
    ),
    case("the disk is almost full", "DiskFull", full_disk, PAGE, 120, heals_s=240),
    case("the archive fails", "ArchiveFails", failing_archive, TICKET, 480, heals_s=240),
    # Outages last: their symptoms are silenced for eleven minutes.
    case("no instance answers", "InstancesDown", frozen("api"), PAGE, 60),
    case("the balancer is frozen", "BalancerDown", frozen("balancer"), PAGE, 60, heals_s=240),
    case("the supervisor is killed", "SupervisorDown", killed_supervisor, PAGE, 120),
    case(
        "no database server answers",
        "NoPrimary",
        frozen("postgres-primary", "postgres-replica"),
        PAGE,
        60,
        also=LOST,
        heals_s=240,
    ),
)
