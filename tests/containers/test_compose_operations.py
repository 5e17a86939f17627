"""What docs/operations/compose.md has an operator do: scale, promote, upgrade, back up, restore.

One after another, on one project, with the commands of that page.
"""

import asyncio
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florin.gate.merchant import CheckMerchant
from tests.containers.conftest import FORM
from tests.containers.dumps import (
    back_up,
    create,
    keep_secrets,
    read_dump,
    spend,
    unpack_secrets,
)
from tests.containers.engine import Engine
from tests.containers.topology import Topology, project_folder, running_topology, wait_until_served

pytestmark = pytest.mark.long_form(FORM)
OLD, NEW = "stand-in-postgres-15", "stand-in-postgres"
SERVER = ("exec", "-T", "database")
SQL = ("psql", "-h", "/run/postgresql", "-U", "postgres", "-d", "florin", "-Atc")
DATA = ("database", "database-replica")


@pytest.fixture(scope="module")
def project(networked: Engine) -> Iterator[Topology]:
    with running_topology(networked, 8000, postgres=OLD) as running:
        yield running


@pytest.fixture(scope="module")
def merchant(project: Topology) -> CheckMerchant:
    return project.merchant()


@pytest.fixture(scope="module")
def card(project: Topology, merchant: CheckMerchant) -> Any:
    return create(project, merchant, "/cards", {"program": merchant.program, "amount": 2500})


def sql(project: Topology, query: str) -> str:
    return project.compose(*SERVER, *SQL, query).strip()


def major_version(project: Topology) -> int:
    return int(sql(project, "show server_version_num")) // 10_000


def until_replica_streams(project: Topology) -> None:
    deadline = time.monotonic() + 60
    while sql(project, "select state from pg_stat_replication") != "streaming":
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_prometheus_finds_every_process_and_its_alerts_arrive(project: Topology) -> None:
    words = ("--profile", "monitoring", "up", "--detach", "--wait", "prometheus", "alertmanager")
    project.compose(*words)
    # Two instances, a worker and the operator's process; the balancer.
    until_value(project, 'sum(up{job="florin"})', "4")
    until_value(project, 'sum(up{job="florin-balancer"})', "1")
    assert int(query(project, "sum(prometheus_rule_group_rules)")) > 40
    until_value(project, "prometheus_notifications_alertmanagers_discovered", "1")
    assert query(project, "sum(prometheus_rule_evaluation_failures_total)") == "0"
    until_alertmanager_has(project, "Watchdog")
    project.compose("rm", "--stop", "--force", "prometheus", "alertmanager")


def until_value(project: Topology, expression: str, value: str) -> None:
    deadline = time.monotonic() + 60
    while (found := query(project, expression)) != value:
        assert time.monotonic() < deadline, f"{expression} is {found}"
        time.sleep(1)


def until_alertmanager_has(project: Topology, alert: str) -> None:
    words = ("amtool", "--alertmanager.url=http://127.0.0.1:9093", "alert", "query", alert)
    deadline = time.monotonic() + 60
    while alert not in project.compose("exec", "-T", "alertmanager", *words):
        assert time.monotonic() < deadline, f"{alert} did not arrive"
        time.sleep(1)


def query(project: Topology, expression: str) -> str:
    """The value of an expression; its labels are left out."""
    words = ("promtool", "query", "instant", "http://127.0.0.1:9090", expression)
    line = project.compose("exec", "-T", "prometheus", *words).strip()  # {…} => 4 @[1764…]
    return line.partition("=> ")[2].partition(" @")[0]


async def test_instances_are_added_and_removed_without_a_failed_request(
    project: Topology, merchant: CheckMerchant
) -> None:
    async with project.load(merchant, rate=15.0) as load:
        for count in (3, 2):
            (project.folder / ".env").write_text(f"FLORIN_BLUE={count}\n", "utf-8")
            began = time.monotonic()
            await asyncio.to_thread(project.compose, "up", "--detach", "--wait")
            print(f"{count} instances after {time.monotonic() - began:.1f} s")
            assert len(project.containers("api-blue")) == count
            await load.until(load.log.requests + 50, 30)


def test_the_replica_replaces_a_database_whose_volume_is_lost(
    project: Topology, merchant: CheckMerchant, card: Any
) -> None:
    assert spend(project, merchant, card) == 2400
    until_replica_streams(project)
    began = time.monotonic()
    project.compose("stop", "database")
    project.compose("exec", "-T", "database-replica", "pg_ctl", "promote")
    project.compose("stop", "database-replica")
    copy = "rm -rf $PGDATA && cp -a /from/pgdata $PGDATA"
    words = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "sh")
    project.compose(*words, "-v", "florin_database-replica:/from", "database", "-c", copy)
    project.compose("rm", "--force", "database-replica")
    project.engine.docker("volume", "rm", "florin_database-replica")
    project.compose("up", "--detach", "--wait", "--no-deps", "database")
    print(f"the copy serves after {time.monotonic() - began:.1f} s")
    sql(project, "select pg_create_physical_replication_slot('replica', true)")
    project.compose("up", "--detach", "--wait")
    assert spend(project, merchant, card) == 2300
    until_replica_streams(project)


def test_postgresql_is_upgraded_by_a_dump(
    project: Topology, merchant: CheckMerchant, card: Any, tmp_path: Path
) -> None:
    before = major_version(project)
    began = time.monotonic()
    project.compose("stop", "balancer", "api-blue", "api-green", "worker", "operator")
    dump = back_up(project, tmp_path)
    project.compose("rm", "--stop", "--force", *DATA)
    project.engine.docker("volume", "rm", *(f"florin_{name}" for name in DATA))
    upgraded = replace(project, postgres=NEW)
    restore(upgraded, dump)
    wait_until_served(upgraded.address)
    print(f"upgraded, without service for {time.monotonic() - began:.1f} s")
    assert (before, major_version(upgraded)) == (15, 17)
    assert spend(upgraded, merchant, card) == 2200
    until_replica_streams(upgraded)


def test_a_card_is_spent_by_its_code_after_a_restore_on_an_empty_host(
    project: Topology, merchant: CheckMerchant, card: Any, tmp_path: Path
) -> None:
    lost = replace(project, postgres=NEW)
    dump, archive = back_up(lost, tmp_path), keep_secrets(lost, tmp_path)
    lost.compose("down", "--volumes", "--timeout", "1")
    folder = project_folder(secrets=False)
    empty = replace(lost, folder=folder)
    try:
        began = time.monotonic()
        unpack_secrets(archive, folder)
        restore(empty, dump)
        wait_until_served(empty.address)
        print(f"restored in {time.monotonic() - began:.1f} s")
        assert spend(empty, merchant, card) == 2100
        until_replica_streams(empty)
    finally:
        empty.compose("down", "--volumes", "--timeout", "1")
        shutil.rmtree(folder)


def restore(project: Topology, dump: Path) -> None:
    """Start the database alone and empty, read the dump, then start everything."""
    project.compose("up", "--detach", "--wait", "database")
    read_dump(project, dump)
    project.compose("up", "--detach", "--wait")
