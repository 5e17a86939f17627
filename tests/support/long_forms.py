"""Long forms: tests that a run of everything leaves out, and the order of the files in parallel.

`@pytest.mark.long_form("fleets")` marks a test that only `bin/test --long fleets` runs, and
`florin bench mutants`. Each has a quicker one of its kind in the short form.
`@pytest.mark.slow` marks a test of more than about six seconds: `bin/test` leaves it out when it
runs everything, `bin/test --slow` does not.
"""

from collections.abc import Iterable, Sequence

import pytest

EVERY = "every"
FORMS = ("alerts", "benchmarks", "containers", "fleets", "pages")

# Files of more than 25 s, longest first: what begins last must be short, or one process ends late.
LONGEST_FIRST = (
    "tests/ops/backups/test_backup.py",
    "tests/journeys/test_blue_green.py",
    "tests/cards/jobs/test_job_types.py",
    "tests/ops/lifecycle/test_up.py",
    "tests/journeys/alerts/test_alerts.py",
    "tests/bench/test_requests.py",
    "tests/cli/test_commands.py",
    "tests/kit/valkey/test_topologies.py",
    "tests/ops/supervisor/test_faults.py",
    "tests/journeys/test_changes_under_load.py",
    "tests/ops/kubernetes/test_cluster_deployment.py",
    "tests/ops/postgres/test_replica_set.py",
    "tests/gate/test_gate.py",
    "tests/cli/test_bin.py",
    "tests/journeys/test_deploy_with_workers.py",
    "tests/journeys/test_schemathesis.py",
    "tests/cards/jobs/test_batch_change.py",
    "tests/ops/alerting/test_fleet_alerts.py",
    "tests/deploy/test_alert_rules.py",
    "tests/ops/lifecycle/test_accounts.py",
    "tests/kit/queue/test_worker.py",
    "tests/journeys/test_any_loss.py",
    "tests/ops/postgres/test_failover.py",
    "tests/kit/queue/test_failing_jobs.py",
    "tests/webhooks/test_delivery.py",
    "tests/journeys/faults/test_kills.py",
    "tests/ops/rollout/test_workers.py",
    "tests/web/test_journeys.py",
    "tests/journeys/test_races.py",
    "tests/ops/haproxy/test_instances.py",
    "tests/kit/server/test_health_faults.py",
    "tests/kit/replicas/test_routing.py",
    "tests/web/test_till.py",
    "tests/test_clock/test_advance.py",
    "tests/kit/observability/test_tracing.py",
    "tests/ops/operator_page/test_operator_process.py",
)


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        "--form",
        choices=(*FORMS, EVERY),
        help="run the tests of this long form alone; every: also those of all long forms",
    )
    parser.addoption("--quick", action="store_true", help="leave out the tests marked as slow")


def select_tests(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another form runs. In parallel, begin with the files that take longest."""
    form: str | None = config.getoption("--form")
    if form not in (None, EVERY):
        others = [item for item in items if form not in forms_of(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if form in forms_of(item)]
    elif form is None:
        for item in items:
            for name in forms_of(item):
                item.add_marker(pytest.mark.skip(reason=f"bin/test --long {name} runs it"))
    if config.getoption("--quick"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    if hasattr(config, "workerinput"):
        files = order_files(item.nodeid.partition("::")[0] for item in items)
        items.sort(key=lambda item: files[item.nodeid.partition("::")[0]])


def forms_of(item: pytest.Item) -> tuple[str, ...]:
    names = tuple(str(marker.args[0]) for marker in item.iter_markers("long_form"))
    unknown = set(names) - set(FORMS)
    assert not unknown, f"{item.nodeid}: unknown long form {unknown}"
    return names


def order_files(files: Iterable[str], first: Sequence[str] = LONGEST_FIRST) -> dict[str, int]:
    """Return the place of each file: those of `first` in its order, then the others in theirs."""
    seen = dict.fromkeys(files)
    ahead = [file for file in first if file in seen]
    return {file: place for place, file in enumerate(dict.fromkeys((*ahead, *seen)))}
