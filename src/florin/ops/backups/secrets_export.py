"""Secrets export: a file with what no backup of the database holds, and whether it was ever made.

A backup without the peppers and the seal key holds balances that no code finds. The file belongs
into another place than the backups; with BACKUP_KEY it is encrypted in the format of age.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from florin.ops.backups.encryption import BackupKey
from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home, write_file
from florin.ops.fleet.secrets import Secrets
from florin.ops.system.console import OperatorError

_AGE = b"age-encryption.org/"
_KIND = "florin secrets"
Given = Callable[[str], str | None]


class SecretsFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an export: those of the home, and those that the environment sets instead."""

    kind: str = _KIND
    at: float  # Unix seconds
    secrets: Secrets


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported last: when, and a fingerprint that says whether the secrets changed."""

    at: float
    fingerprint: str


def export_secrets(home: Home, given: Given, file: Path, key: BackupKey | None) -> list[str]:
    """Write the secrets in force to a new file; return their names. Raises OperatorError."""
    held = secrets_in_force(home, given)
    missing = [name for name in secrets.APPLICATION if name not in held]
    if missing:
        raise OperatorError(f"There is nothing to export: {', '.join(missing)} not set.")
    if file.exists():
        raise OperatorError(f"{file} exists; give the name of a new file.")
    if not file.parent.is_dir():
        raise OperatorError(f"{file.parent} is no directory.")
    now = time.time()
    content = msgspec.json.format(msgspec.json.encode(SecretsFile(at=now, secrets=held)))
    write_file(file, content if key is None else key.encrypted(content))
    record = ExportRecord(at=now, fingerprint=_fingerprint(held))
    _record(home).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(_record(home), msgspec.json.encode(record))
    return sorted(held)


def import_secrets(home: Home, file: Path, key: BackupKey | None) -> list[str]:
    """Write the secrets of an export into a home that has none; return their names.

    Raises OperatorError if the home has other secrets, or the file is none or cannot be read.
    """
    held = read_export(file, key).secrets
    there = secrets.read_secrets(home)
    if there and there != held:
        raise OperatorError(
            f"{home.secrets} has other secrets, and another database may need them; move it away"
            " first, or leave out --secrets."
        )
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(home.secrets, msgspec.json.format(msgspec.json.encode(held), indent=2))
    return sorted(held)


def read_export(file: Path, key: BackupKey | None) -> SecretsFile:
    """Return the content of an export. Raises OperatorError."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise OperatorError(f"{file} cannot be read: {error.strerror}.") from None
    if content.startswith(_AGE):
        if key is None:
            raise OperatorError(f"{file} is encrypted; give the BACKUP_KEY that was set then.")
        content = key.decrypted(content, str(file))
    try:
        found = msgspec.json.decode(content, type=SecretsFile)
    except msgspec.DecodeError:
        found = None
    if found is None or found.kind != _KIND:
        raise OperatorError(f"{file} was not written by florin backup --secrets.")
    return found


def last_export(home: Home, given: Given) -> tuple[ExportRecord | None, bool]:
    """Return the last export, and whether the secrets are still those."""
    try:
        record = msgspec.json.decode(_record(home).read_bytes(), type=ExportRecord)
    except (OSError, msgspec.DecodeError):
        return None, False
    return record, record.fingerprint == _fingerprint(secrets_in_force(home, given))


def secrets_in_force(home: Home, given: Given) -> Secrets:
    """Return the secrets of the home; for the application's, the environment comes first."""
    held = dict(secrets.read_secrets(home))
    for name in (*secrets.APPLICATION, *secrets.PREVIOUS):
        value = given(name)
        if value is not None:
            held[name] = value
    return held


def _fingerprint(held: Secrets) -> str:
    return hashlib.sha256(msgspec.json.encode(sorted(held.items()))).hexdigest()[:16]


def _record(home: Home) -> Path:
    return home.path / "saved" / "secrets-exported.json"
