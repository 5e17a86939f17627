"""Audit seals: a chain of hashes over the lines of the fleet's audit log, and noted checkpoints of
the merchants' audit.

The supervisor seals new lines in the background. Each line of `audit.seals` has the SHA-256 of a
line of the log, and that of the seal before with it.
"""

import hashlib
import os
from pathlib import Path

import asyncpg
import msgspec

from florin.kit.postgres.database import BROKEN
from florin.ops.fleet.audit_log import audit_file
from florin.ops.fleet.home import Home
from florin.ops.postgres.connection import open_session

_SEALS = "audit.seals"
_CHECKPOINTS = "audit.checkpoints"
_START = hashlib.sha256(b"florin audit").hexdigest()
_FINDINGS_MOST = 20
_LAST = "select number, hash from florin.audit_checkpoint order by number desc limit 1"


class LineSeal(msgspec.Struct, frozen=True):
    """The seal of one line of the log; hashes are hexadecimal."""

    content: str
    hash: str


class NotedCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint of the merchants' audit, as it was in the database."""

    number: int
    hash: str


class LogVerification(msgspec.Struct, kw_only=True):
    """What was verified; intact if there are no findings."""

    lines: int
    unsealed: int  # the newest ones, which the supervisor seals next
    findings: list[str]

    @property
    def intact(self) -> bool:
        return not self.findings


def seal_operations(home: Home) -> int:
    """Append seals of the lines that have none; return their number."""
    lines, seals = _lines(audit_file(home)), _seals(home)
    if len(lines) <= len(seals):
        return 0
    before = seals[-1].hash if seals else _START
    text = b""
    for line in lines[len(seals) :]:
        seal = _seal(before, line)
        text += msgspec.json.encode(seal) + b"\n"
        before = seal.hash
    _append(home.path / _SEALS, text)
    return len(lines) - len(seals)


def verify_operations(home: Home) -> LogVerification:
    """Compute the chain again from the lines of the log."""
    lines, seals = _lines(audit_file(home)), _seals(home)
    findings = _seal_findings(seals)
    contents = [hashlib.sha256(line).hexdigest() for line in lines]
    present, known = set(contents), {seal.content for seal in seals}
    for number, seal in enumerate(seals, 1):
        content = contents[number - 1] if number <= len(contents) else None
        is_lost = seal.content not in present
        is_foreign = content is not None and content not in known
        if is_lost or is_foreign:
            said = "changed" if is_lost and is_foreign else "removed" if is_lost else "inserted"
            findings.append(f"line {number} was {said}")
    sealed_order = [seal.content for seal in seals if seal.content in present]
    found_order = [content for content in contents if content in known]
    for before, after in zip(sealed_order, found_order, strict=False):
        if before != after:
            findings.append(f"line {contents.index(after) + 1} was moved")
            break
    unsealed = sum(content not in known for content in contents[len(seals) :])
    return LogVerification(lines=len(lines), unsealed=unsealed, findings=findings[:_FINDINGS_MOST])


async def note_checkpoint(home: Home, database_url: str) -> NotedCheckpoint | None:
    """Note the last checkpoint of the merchants' audit in the home, where the database's owner
    cannot change it; return it if it is new.
    """
    try:
        async with open_session(database_url) as connection:
            row = await connection.fetchrow(_LAST)
    except (*BROKEN, asyncpg.PostgresError):  # at the next time
        return None
    if row is None:
        return None
    found = NotedCheckpoint(row["number"], row["hash"].hex())
    if found.number in noted_checkpoints(home):
        return None
    _append(home.path / _CHECKPOINTS, msgspec.json.encode(found) + b"\n")
    return found


def noted_checkpoints(home: Home) -> dict[int, str]:
    """Return the hashes of the checkpoints that were noted, by number."""
    noted: dict[int, str] = {}
    for line in _lines(home.path / _CHECKPOINTS):
        try:
            found = msgspec.json.decode(line, type=NotedCheckpoint)
        except msgspec.MsgspecError:  # truncated by a power cut
            continue
        noted.setdefault(found.number, found.hash)
    return noted


def _seal_findings(seals: list[LineSeal]) -> list[str]:
    before = _START
    for number, seal in enumerate(seals, 1):
        if seal.hash != hashlib.sha256(f"{before}{seal.content}".encode()).hexdigest():
            return [f"seal {number} does not follow from the one before it"]
        before = seal.hash
    return []


def _seal(before: str, line: bytes) -> LineSeal:
    content = hashlib.sha256(line).hexdigest()
    return LineSeal(content, hashlib.sha256(f"{before}{content}".encode()).hexdigest())


def _seals(home: Home) -> list[LineSeal]:
    found: list[LineSeal] = []
    for line in _lines(home.path / _SEALS):
        try:
            found.append(msgspec.json.decode(line, type=LineSeal))
        except msgspec.MsgspecError:  # truncated by a power cut: the next call appends it again
            continue
    return found


def _lines(path: Path) -> list[bytes]:
    """Return the complete lines of a file."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    return text[: text.rfind(b"\n") + 1].split(b"\n")[:-1]


def _append(path: Path, text: bytes) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(handle).st_size
        # A line that a power cut left incomplete must not corrupt this one.
        torn = b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""
        os.write(handle, torn + text)
        os.fsync(handle)
    finally:
        os.close(handle)
