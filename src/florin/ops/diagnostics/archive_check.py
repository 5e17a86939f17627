"""Archive check: whether the archive of the log receives what the server writes."""

from pathlib import Path

from florin.ops.backups import archive_delay
from florin.ops.backups.restore import newest_of
from florin.ops.diagnostics.finding import Check
from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet
from florin.ops.postgres import server as postgres
from florin.ops.postgres import wal_archive
from florin.ops.system.console import OperatorError

WITHIN_S = 20.0


def check(home: Home, fleet: Fleet) -> list[Check]:
    """Have the server end a segment of its log, and see it arrive where there is an archive."""
    place = home.layout().place
    primary = next((part for part in fleet.of("postgres-primary") if part.process), None)
    if place is None or primary is None or primary.address is None:
        return []
    archive = wal_archive.archive(Path(place))
    if not archive.is_dir():
        return []
    url = postgres.url_of(primary.address, postgres.SUPERUSER, secrets.read(home))
    try:
        took_s = archive_delay.measure(
            url, lambda: newest_of(archive), at_once=True, within_s=WITHIN_S
        )
    except OperatorError as error:
        return [Check("fleet", "archive", "fail", str(error))]
    if took_s is None:
        return []  # the database does not answer: another check says so
    return [Check("fleet", "archive", "ok", f"a part of the log arrived within {took_s} s")]
