"""Facts: what only the supervisor's user may read, published for the operator process.

The operator process runs as the application's user, which cannot read the home. The supervisor
writes one file that this user can read; its modification time says when the supervisor last looked.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec

from florin.ops.backups import status as backups
from florin.ops.diagnostics import status
from florin.ops.fleet import audit_log, desired_state, operation_lock
from florin.ops.fleet.audit_log import OperationRecord
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.home import Home, write_file
from florin.ops.fleet.model import Fleet
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.operator_folder import FACTS

_LAST_OPERATIONS, _LAST_EVENTS = 12, 12


class OperatorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of the home."""

    home: str
    fleet: Fleet = Fleet()
    desired: DesiredState = DesiredState()
    wanted_workers: int | None = None
    operation: Operation | None = None
    operations: list[OperationRecord] = []  # the newest first
    events: list[OperationRecord] = []  # of deployments and rollbacks, the newest last
    backups: dict[str, Any] = {}


def read_facts(path: Path) -> tuple[float, OperatorFacts]:
    """Return the time at which the supervisor last looked, and the facts.

    Raises OSError or msgspec.DecodeError.
    """
    with path.open("rb") as file:
        at = os.fstat(file.fileno()).st_mtime
        return at, msgspec.json.decode(file.read(), type=OperatorFacts)


class FactsFile:
    """Publishes the facts: writes them when they changed, else only renews the file's time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FACTS
        self._written = b""

    def publish(self, facts: OperatorFacts) -> None:
        """Raises OperatorError when the file cannot be written."""
        content = msgspec.json.encode(facts)
        if content != self._written:
            write_file(self._path, content, mode=0o640)
            self._written = content
            return
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._path)
            return
        self._written = b""


def collect_facts(home: Home, fleet: Fleet, *, wanted_workers: int | None) -> OperatorFacts:
    """Read the home. `fleet` and `wanted_workers` are the supervisor's own state."""
    kept = desired_state.load_desired_state(home)
    operations = audit_log.read_operations(home)
    return OperatorFacts(
        home=str(home.path),
        fleet=status.order_parts(fleet),
        desired=kept,
        wanted_workers=wanted_workers if kept.workers is None else kept.workers,
        operation=operation_lock.load_operation(home),
        operations=operations[: -_LAST_OPERATIONS - 1 : -1],
        events=[each for each in operations if each.details is not None][-_LAST_EVENTS:],
        backups=_backups(home),
    )


def _backups(home: Home) -> dict[str, Any]:
    """Return the outcomes with the times instead of the ages, which change every second."""
    outcomes = backups.read_outcomes(home)
    shown = backups.backup_document(home)
    return {
        what: {key: value for key, value in shown[what].items() if key != "age_s"}
        | {"at": outcome.at}
        for what, outcome in outcomes.items()
    }
