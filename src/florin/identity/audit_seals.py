"""Audit seals: seals the audit of the merchants, and verifies it.

The verification computes every hash from the records themselves, not by functions of the database,
which its owner may have replaced. Who can rewrite the records can also rewrite the seals: known
checkpoints, kept outside of the database, show that.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.observability import logging
from florin.kit.postgres.database import Connection
from florin.kit.queue.job import Continue, QueuedJob

RECORDS_MOST = 5_000  # of one transaction
LATE_S = 600  # a record is sealed within a minute; after this its seal is missing
_FINDINGS_MOST = 20

_SEALS = """
select s.merchant, s.number, s.record, s.content, s.hash, s.checkpoint, a.id,
  a.merchant::text f1, a.id::text f2, a.actor f3, a.action f4, a.subject f5, a.before::text f6,
  a.after::text f7, a.request_id f8, (extract(epoch from a.created_at) * 1000000)::bigint::text f9
from florin.audit_seal s
left join florin.audit a on a.merchant = s.merchant and a.id = s.record
order by s.checkpoint, s.merchant, s.number
"""
_UNSEALED = """
select a.merchant, a.id, extract(epoch from clock_timestamp() - a.created_at)::float8 as age_s
from florin.audit a where not exists (
  select from florin.audit_seal s where s.merchant = a.merchant and s.record = a.id)
"""
_FIELDS = tuple(f"f{n}" for n in range(1, 10))
_log = logging.get_logger()


class AuditVerification(msgspec.Struct, kw_only=True):
    """What was verified; intact if there are no findings."""

    records: int  # sealed ones
    merchants: int
    unsealed: int  # the newest ones, which the next call seals
    checkpoint: int
    hash: str
    findings: list[str]

    @property
    def intact(self) -> bool:
        return not self.findings


async def seal_records(job: QueuedJob) -> Continue | None:
    """Seal what was committed since the last call, and log the checkpoint: the log, which usually
    leaves the machine, then shows when the database was rewritten.
    """
    async with job.effect() as tx:
        row = await tx.one("select * from seal_audit($1)", RECORDS_MOST)
    assert row is not None
    if row["sealed"]:
        _log.info(
            "the audit is sealed",
            checkpoint=row["checkpoint"],
            seals=row["seals"],
            hash=row["hash"].hex(),
        )
    return Continue() if row["sealed"] == RECORDS_MOST else None


async def verify_records(
    connection: Connection, known: Mapping[int, str] | None = None
) -> AuditVerification:
    """Compute all hashes again, in one snapshot. `known`: hashes of checkpoints that were noted
    outside of the database.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        checkpoints = await connection.fetch(
            "select number, seals, hash from florin.audit_checkpoint order by number"
        )
        checking = _Chains(checkpoints)
        async for row in _stream(connection, _SEALS):
            checking.add(row)
        checking.check_checkpoints(known or {})
        unsealed = await connection.fetch(_UNSEALED)
    checking.check_unsealed(unsealed)
    findings = checking.findings
    if len(findings) > _FINDINGS_MOST:
        more = len(findings) - _FINDINGS_MOST
        findings = [*findings[:_FINDINGS_MOST], f"and {more} more"]
    return AuditVerification(
        records=checking.records,
        merchants=len(checking.ends),
        unsealed=len(unsealed),
        checkpoint=len(checkpoints),
        hash=checkpoints[-1]["hash"].hex() if checkpoints else "",
        findings=findings,
    )


async def _stream(connection: Connection, sql: str) -> AsyncGenerator[Any]:
    async for row in connection.cursor(sql, prefetch=1000):
        yield row


class _Chains:
    """The chains as far as they were read, in the order of their checkpoints."""

    def __init__(self, checkpoints: list[Any]) -> None:
        self.findings: list[str] = []
        self.records = 0
        self.ends: dict[UUID, tuple[int, bytes]] = {}
        self._checkpoints = checkpoints
        self._seals: Counter[int] = Counter()
        self._digests: dict[int, Any] = {}
        before = b""
        for place, row in enumerate(checkpoints, 1):
            head = before + place.to_bytes(8, "big") + row["seals"].to_bytes(8, "big")
            self._digests[row["number"]] = hashlib.sha256(head)
            before = row["hash"]

    def add(self, row: Any) -> None:
        self.records += 1
        merchant, checkpoint = row["merchant"], row["checkpoint"]
        name = f"record {ids.show_id('aud', row['record'])} of {ids.show_id('mer', merchant)}"
        number, before = self.ends.get(merchant, (0, hashlib.sha256(merchant.bytes).digest()))
        if row["id"] is None:
            self.findings.append(f"{name} was removed")
        elif _content(row) != row["content"]:
            self.findings.append(f"{name} was changed")
        if row["number"] != number + 1:
            self.findings.append(f"{name}: its seal was moved, or the one before it removed")
        elif hashlib.sha256(before + row["content"]).digest() != row["hash"]:
            self.findings.append(f"{name}: its seal does not follow from the one before it")
        self.ends[merchant] = (row["number"], row["hash"])
        self._seals[checkpoint] += 1
        if checkpoint in self._digests:
            self._digests[checkpoint].update(row["hash"])

    def check_checkpoints(self, known: Mapping[int, str]) -> None:
        seals, hashes = 0, dict[int, str]()
        for place, row in enumerate(self._checkpoints, 1):
            number, found = row["number"], row["hash"]
            seals += self._seals[number]
            hashes[number] = found.hex()
            if (number, row["seals"], found) != (place, seals, self._digests[number].digest()):
                self.findings.append(f"checkpoint {number} does not match its seals")
        if missing := set(self._seals) - set(hashes):
            self.findings.append(f"checkpoint {min(missing)} was removed")
        for number, noted in known.items():
            if hashes.get(number) != noted:
                said = "was removed" if number not in hashes else "is another than it was"
                self.findings.append(f"checkpoint {number} {said}: the database was rewritten")

    def check_unsealed(self, rows: list[Any]) -> None:
        for row in rows:
            if row["age_s"] > LATE_S:
                name = ids.show_id("aud", row["id"])
                self.findings.append(
                    f"record {name} of {ids.show_id('mer', row['merchant'])} has no seal"
                )


def _content(row: Any) -> bytes:
    """The hash of a record, as audit_content (audit_seal.sql) makes it."""
    fields = [row[name] for name in _FIELDS]
    text = "".join("-" if each is None else f"{len(each.encode())}:{each}" for each in fields)
    return hashlib.sha256(text.encode()).digest()
