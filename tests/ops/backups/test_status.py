"""Backup status: overdue or failed operations are reported everywhere until the next success."""

from pathlib import Path

from florin.ops.backups import status
from florin.ops.backups.status import OLD_S, BackupOutcome, What
from florin.ops.diagnostics import doctor
from florin.ops.fleet.home import Home

NOW = 1_000_000.0


def outcomes(**ages_s: float | None) -> dict[What, BackupOutcome]:
    found: dict[What, BackupOutcome] = {what: BackupOutcome() for what in status.WHATS}
    for what in status.WHATS:
        age = ages_s.get(what)
        if age is not None:
            found[what] = BackupOutcome(at=NOW - age, tried=NOW - age)
    return found


def test_a_fleet_without_backups_has_no_failure() -> None:
    assert status.failing_backups(outcomes(), NOW) == {}


def test_an_overdue_backup_is_a_failure() -> None:
    assert status.failing_backups(outcomes(taken=10, shipped=10, verified=10), NOW) == {}
    assert set(status.failing_backups(outcomes(taken=OLD_S + 1), NOW)) == {"taken", "verified"}
    assert set(status.failing_backups(outcomes(taken=10, verified=OLD_S + 1), NOW)) == {"verified"}
    assert set(status.failing_backups(outcomes(taken=10, shipped=600), NOW)) == {"shipped"}
    assert status.failing_backups(outcomes(taken=10, shipped=600), NOW, runs=False) == {}
    assert set(status.failing_backups(outcomes(shipped=10), NOW)) == {
        "taken"
    }  # no failure at first


def test_a_failure_is_reported_until_the_next_success(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert status.backup_line(status.backup_document(home)) == ""
    assert [check.result for check in doctor.backup_checks(home, runs=True)] == ["warn"]
    status.record_success(home, "taken", backup="/somewhere")
    status.record_failure(home, "verified", "A part of the log is missing")
    assert "NOT VERIFIED (A part of the log is missing)" in status.backup_line(
        status.backup_document(home)
    )
    assert [check.result for check in doctor.backup_checks(home, runs=True)] == ["fail"]
    assert 'florin_backup_failing{what="verified"} 1' in status.backup_metrics(home)
    assert 'florin_backup_failing{what="taken"} 0' in status.backup_metrics(home)
    status.record_success(home, "verified")
    assert [check.result for check in doctor.backup_checks(home, runs=True)] == ["ok"]
    assert 'florin_backup_failing{what="verified"} 0' in status.backup_metrics(home)
