"""Archive check: whether the server's log arrives in the archive, and whether uploaded backups are
encrypted.
"""

from pathlib import Path

from florin.ops.backups import archive_delay
from florin.ops.backups.encryption import key_of
from florin.ops.backups.restore import newest_segment_in
from florin.ops.diagnostics.finding import Finding
from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet
from florin.ops.fleet.options import UpOptions
from florin.ops.postgres import server as postgres
from florin.ops.postgres import wal_archive
from florin.ops.system.console import OperatorError

WITHIN_S = 20.0


def check_archive(home: Home, fleet: Fleet) -> list[Finding]:
    """Make the server end a segment of its log and wait for it in the archive, if there is one."""
    place = home.layout().data_dir
    primary = next((part for part in fleet.of("postgres-primary") if part.process), None)
    if place is None or primary is None or primary.address is None:
        return []
    archive = wal_archive.archive_dir(Path(place))
    if not archive.is_dir():
        return []
    url = postgres.postgres_url(primary.address, postgres.SUPERUSER, secrets.read_secrets(home))
    try:
        took_s = archive_delay.measure_archive_delay(
            url, lambda: newest_segment_in(archive), end_segment=True, within_s=WITHIN_S
        )
    except OperatorError as error:
        return [Finding("fleet", "archive", "fail", str(error))]
    if took_s is None:
        return []  # the database does not answer: another check reports that
    return [Finding("fleet", "archive", "ok", f"a log segment was archived within {took_s} s")]


def check_encryption(options: UpOptions) -> list[Finding]:
    """Check that uploaded backups are encrypted; no finding if nothing is uploaded."""
    name = "backup encryption"
    try:
        key = key_of(options.given)
    except OperatorError as error:
        return [Finding("fleet", name, "fail", str(error))]
    if options.given("BACKUP_URL") is None:
        said = "BACKUP_KEY is set without BACKUP_URL: no backup is uploaded; set BACKUP_URL as well"
        return [] if key is None else [Finding("fleet", name, "warn", said)]
    if key is None:
        said = "backups are uploaded to BACKUP_URL unencrypted; set BACKUP_KEY (from age-keygen)"
        return [Finding("fleet", name, "warn", said)]
    return [Finding("fleet", name, "ok", "backups at BACKUP_URL are encrypted with BACKUP_KEY")]
