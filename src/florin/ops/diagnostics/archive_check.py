"""Archive check: whether the archive of the log receives what the server writes, and whether what
leaves the machine is encrypted.
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


def check(home: Home, fleet: Fleet) -> list[Finding]:
    """Have the server end a segment of its log, and see it arrive where there is an archive."""
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
            url, lambda: newest_segment_in(archive), at_once=True, within_s=WITHIN_S
        )
    except OperatorError as error:
        return [Finding("fleet", "archive", "fail", str(error))]
    if took_s is None:
        return []  # the database does not answer: another check says so
    return [Finding("fleet", "archive", "ok", f"a part of the log arrived within {took_s} s")]


def encryption(options: UpOptions) -> list[Finding]:
    """Whether what leaves this machine is encrypted; nothing where nothing does."""
    name = "backup encryption"
    try:
        key = key_of(options.given)
    except OperatorError as error:
        return [Finding("fleet", name, "fail", str(error))]
    if options.given("BACKUP_URL") is None:
        said = "BACKUP_KEY is set, but BACKUP_URL names no place: nothing is encrypted"
        return [] if key is None else [Finding("fleet", name, "warn", said)]
    if key is None:
        said = "what BACKUP_URL gets is not encrypted; set BACKUP_KEY (age-keygen makes one)"
        return [Finding("fleet", name, "warn", said)]
    return [Finding("fleet", name, "ok", "what BACKUP_URL gets is encrypted with BACKUP_KEY")]
