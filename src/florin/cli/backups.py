"""Backups: back up the database of a home, verify backups and restore to a point in time."""

import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of, whole_number
from florin.ops.backups.encryption import key_of
from florin.ops.backups.own_database import OwnDatabase, find_own_database
from florin.ops.fleet.home import Home
from florin.ops.fleet.options import UpOptions
from florin.ops.system.console import OperatorError


def backup(
    *,
    keep: Annotated[
        int, whole_number(least=1, help="Number of backups to keep, including this one.")
    ] = 2,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Take none; restore the last one to a scratch directory and check it."
        ),
    ] = False,
    secrets: Annotated[
        Path | None,
        typer.Option(
            "--secrets",
            metavar="FILE",
            help="Take none; write the secrets, which no backup holds, to a new file.",
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back up the running database and check the copy; the first backup starts WAL archiving."""
    from florin.ops.backups import status

    chosen = home_of(home)
    if secrets is not None:
        _export(chosen, secrets, as_json=as_json)
        return
    own = find_own_database(chosen)
    what: status.What = "verified" if verify else "taken"
    try:
        document = _verify(own) if verify else _take(own, keep)
    except OperatorError as error:
        status.record_failure(chosen, what, str(error))
        raise
    status.record_success(chosen, what, **document)
    print(msgspec.json.encode(document).decode() if as_json else _format_outcome(document))


def _export(home: Home, file: Path, *, as_json: bool) -> None:
    from florin.ops.backups.secrets_export import export_secrets

    options = UpOptions(home=home, environ=os.environ)
    key = key_of(options.given)
    names = export_secrets(home, options.given, file, key)
    if as_json:
        document = {"file": str(file), "secrets": names, "encrypted": key is not None}
        print(msgspec.json.encode(document).decode())
        return
    how = "encrypted with BACKUP_KEY" if key else "NOT encrypted, since BACKUP_KEY is not set"
    print(
        f"{len(names)} secrets are in {file}, {how}. Keep it apart from the backups; florin restore"
        " --secrets reads it."
    )


def _import(home: Home, file: Path) -> None:
    from florin.ops.backups.secrets_export import import_secrets

    import_secrets(home, file, key_of(UpOptions(home=home, environ=os.environ).given))


def _format_outcome(document: dict[str, Any]) -> str:
    if "backup" in document:
        there = f" It is also stored in {document['stored']}." if document["stored"] else ""
        return (
            f"{document['backup']}; florin restore --at accepts times from {document['from']}"
            f" on.{there}"
        )
    kept = document["kept_within_s"]
    said = f"Commits are archived within {kept} s." if kept is not None else ""
    return (
        f"The backup of {document['base']} can be restored to {document['reaches']}; the ledgers of"
        f" {document['merchants']} merchants balance. {said}".strip()
    )


def _take(own: "OwnDatabase", keep: int) -> dict[str, Any]:
    from florin.ops.backups import archive_delay, base_backup, upload
    from florin.ops.backups import restore as recovery
    from florin.ops.postgres import server as postgres
    from florin.ops.postgres import wal_archive

    primary = own.members.primary()
    made = base_backup.take_backup(own.place, primary)
    archive = wal_archive.archive_dir(own.place)
    # A copy is useless without the WAL: report success only after the archive received a segment.
    archive_delay.measure_archive_delay(
        primary.url(postgres.SUPERUSER),
        lambda: recovery.newest_segment_in(archive),
        end_segment=True,
    )
    stored = None
    if own.bucket is not None:
        bucket = own.bucket.below(upload.folder_of(primary))
        upload.upload_segments(own.place, bucket, set(bucket.below("wal").names()), primary.account)
        upload.upload_backup(bucket, made, primary.account)
        upload.prune_uploads(bucket, keep=keep)
        stored = f"s3://{bucket.name}/{bucket.prefix}base/{made.path.name}.tar.gz"
    # Last: delete nothing here that has not been uploaded.
    base_backup.prune_backups(own.place, primary.account, keep=keep)
    return {"backup": str(made.path), "from": made.ended.isoformat(), "stored": stored}


def _verify(own: "OwnDatabase") -> dict[str, Any]:
    """Restore from the storage that a lost machine would use, and check the ledger proof."""
    from florin.cli.ledger_proof import prove_all
    from florin.ops.backups import archive_delay, download, restore_test, upload
    from florin.ops.backups import restore as recovery
    from florin.ops.postgres import server as postgres
    from florin.ops.postgres import wal_archive

    primary = own.members.primary()
    url = primary.url(postgres.SUPERUSER)
    if own.bucket is None:
        saved = own.place
        archive = wal_archive.archive_dir(saved)
        kept = archive_delay.measure_archive_delay(url, lambda: recovery.newest_segment_in(archive))
        found = restore_test.test_restore(saved, primary, prove_all)
    else:
        bucket = own.bucket.below(upload.folder_of(primary))
        log = bucket.below("wal")
        kept = archive_delay.measure_archive_delay(
            url, lambda: recovery.newest_segment(log.names())
        )
        saved = own.place / "fetched"
        try:
            download.fetch_backup(bucket, None, saved, primary.account)
            found = restore_test.test_restore(saved, primary, prove_all)
        finally:
            shutil.rmtree(saved, ignore_errors=True)
    return {
        "base": found.base.isoformat(),
        "reaches": found.reaches.isoformat(),
        "behind_s": found.behind_s,
        "kept_within_s": kept,
        **found.proof,
    }


def restore(
    *,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Point in time, RFC 3339; default: the latest."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which database, if BACKUP_URL holds several."),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option("--secrets", metavar="FILE", help="What florin backup --secrets wrote."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore the database of a stopped fleet to a point in time; the old data is kept."""
    from florin.ops.backups import download
    from florin.ops.backups import restore as recovery
    from florin.ops.fleet.observe import observe_fleet

    instant = _instant(at)
    chosen = home_of(home)
    runs = [part.name for part in observe_fleet(chosen).parts if part.process is not None]
    if runs:
        raise OperatorError(f"The fleet runs ({', '.join(runs)}); run florin down first.")
    if secrets is not None:
        _import(chosen, secrets)
    own = find_own_database(chosen, restoring=True)
    primary = own.members.primary()
    others = [server.data for server in own.members.others(primary.name).values()]
    saved = own.place
    try:
        if own.bucket is not None:
            bucket = download.find_database_folder(
                own.bucket, database or recovery.system_identifier(primary)
            )
            saved = download.fetch_backup(bucket, instant, own.place / "fetched", primary.account)
        before = recovery.restore_database(saved, own.place, primary, instant, others=others)
    finally:
        if saved != own.place:
            shutil.rmtree(saved, ignore_errors=True)
    document = {"restored": str(primary.data), "before": before and str(before), "at": at}
    there = f"; what was there: {before}" if before else ""
    text = f"Restored. florin up starts it, then florin backup{there}."
    print(msgspec.json.encode(document).decode() if as_json else text)


def _instant(at: str | None) -> datetime | None:
    if at is None:
        return None
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise OperatorError(
            f"Invalid --at {at}: give an instant with its offset, such as 2030-01-01T12:00:00Z."
        )
    return instant


COMMANDS = (
    ("backup", backup, "florin backup"),
    ("restore", restore, "florin restore --at 2030-01-01T12:00:00Z"),
)
