"""Audit seals: what the owner of the database changes in the audit is found."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from florin.identity import audit_log, audit_seals
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.postgres.database import Database
from tests.ledger import calls
from tests.support.waiting import until
from tests.support.workers import Crew

TABLES = ("audit", "audit_seal", "audit_checkpoint")
SEAL = "select * from seal_audit($1)"


@pytest.fixture
async def merchants(owner: Any) -> list[UUID]:
    """Two merchants; the audit of earlier tests is gone."""
    for table in TABLES:
        await owner.execute(
            f"alter table florin.{table} disable trigger user; truncate florin.{table};"
            f" alter table florin.{table} enable trigger user"
        )
    return [await calls.make_merchant(owner) for _ in range(2)]


async def record(database: Database, merchant: UUID, number: int = 5) -> None:
    for n in range(number):
        async with database.transaction() as tx:
            await audit_log.record_audit(
                tx,
                AuditActor(merchant=merchant, actor=f"mem_{n}", request_id="é" if n % 2 else None),
                "member.changed",
                f"subject {n}",
                before={"role": "viewer", "n": n, "nested": {"b": [1, 2.5, None], "a": "ü: 1"}},
                after=None if n % 3 else {"role": "owner"},
            )


async def tamper(owner: Any, sql: str, *values: Any) -> None:
    """What someone with the owner's role can do: switch the guards off, and change a row."""
    for table in TABLES:
        await owner.execute(f"alter table florin.{table} disable trigger user")
    try:
        await owner.execute(sql, *values)
    finally:
        for table in TABLES:
            await owner.execute(f"alter table florin.{table} enable trigger user")


async def sealed(database: Database, app: Any, merchants: list[UUID]) -> None:
    for merchant in merchants:
        await record(database, merchant)
        await app.fetchrow(SEAL, 1000)
    await record(database, merchants[0], 2)
    await app.fetchrow(SEAL, 1000)


async def test_what_was_sealed_is_intact(
    database: Database, app: Any, merchants: list[UUID]
) -> None:
    await sealed(database, app, merchants)
    await record(database, merchants[1], 3)
    found = await audit_seals.verify_records(app)
    assert found.findings == []
    assert (found.records, found.merchants, found.unsealed) == (12, 2, 3)
    assert found.checkpoint == 3
    again = await app.fetchrow(SEAL, 1000)
    assert (again["sealed"], again["checkpoint"], again["seals"]) == (3, 4, 15)
    found = await audit_seals.verify_records(app, {3: found.hash})
    assert found.findings == []
    assert (await app.fetchrow(SEAL, 1000))["sealed"] == 0


async def test_a_backlog_is_sealed_in_parts_and_nothing_is_missed(
    database: Database, owner: Any, app: Any, merchants: list[UUID]
) -> None:
    for merchant in merchants:
        await record(database, merchant, 7)
    await tamper(owner, "update florin.audit set created_at = created_at - interval '40 days'")
    counts = [(await app.fetchrow(SEAL, 5))["sealed"] for _ in range(4)]
    assert counts == [5, 5, 4, 0]
    assert (await audit_seals.verify_records(app)).findings == []


CHANGES = {
    "actor": "update florin.audit set actor = 'mem_x' where id = $1",
    "time": "update florin.audit set created_at = created_at + interval '1 us' where id = $1",
    "value": 'update florin.audit set before = before || \'{"role": "owner"}\' where id = $1',
    "emptied": "update florin.audit set before = null where id = $1",
    "request": "update florin.audit set request_id = '' where id = $1",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_record_is_named(
    database: Database, owner: Any, app: Any, merchants: list[UUID], change: str
) -> None:
    await sealed(database, app, merchants)
    uuid = await app.fetchval(
        "select id from florin.audit where merchant = $1 order by id limit 1", merchants[1]
    )
    await tamper(owner, CHANGES[change], uuid)
    found = await audit_seals.verify_records(app)
    name = f"record {ids.show_id('aud', uuid)} of {ids.show_id('mer', merchants[1])}"
    assert found.findings == [f"{name} was changed"]


async def test_a_removed_record_is_named(
    database: Database, owner: Any, app: Any, merchants: list[UUID]
) -> None:
    await sealed(database, app, merchants)
    uuid = await app.fetchval("select id from florin.audit order by id desc limit 1")
    await tamper(owner, "delete from florin.audit where id = $1", uuid)
    [finding] = (await audit_seals.verify_records(app)).findings
    assert finding.startswith(f"record {ids.show_id('aud', uuid)} of ")
    assert finding.endswith(" was removed")


async def test_a_record_removed_with_its_seal_is_found(
    database: Database, owner: Any, app: Any, merchants: list[UUID]
) -> None:
    await sealed(database, app, merchants)
    await tamper(
        owner,
        "with gone as (delete from florin.audit_seal where merchant = $1 and number = 3"
        " returning record) delete from florin.audit where id in (select record from gone)",
        merchants[0],
    )
    found = (await audit_seals.verify_records(app)).findings
    assert any("the one before it removed" in each for each in found)
    assert "checkpoint 1 does not match its seals" in found


async def test_reordered_records_are_found(
    database: Database, owner: Any, app: Any, merchants: list[UUID]
) -> None:
    await sealed(database, app, merchants)
    await _swap(owner, merchants[0])
    found = (await audit_seals.verify_records(app)).findings
    assert sum("does not follow from the one before it" in each for each in found) == 2


async def _swap(owner: Any, merchant: UUID) -> None:
    """Exchange the records of two seals; the key of records is unique at any moment."""
    rows = await owner.fetch(
        "select record, content from florin.audit_seal where merchant = $1 and number in (2, 3)"
        " order by number",
        merchant,
    )
    one, two = [(row["record"], row["content"]) for row in rows]

    async def put(number: int, record: UUID, content: bytes) -> None:
        await tamper(
            owner,
            "update florin.audit_seal set record = $3, content = $4"
            " where merchant = $1 and number = $2",
            merchant,
            number,
            record,
            content,
        )

    await put(2, ids.new_id(), b"")
    await put(3, *one)
    await put(2, *two)


async def test_a_record_without_a_seal_is_found(
    database: Database, owner: Any, app: Any, merchants: list[UUID]
) -> None:
    await sealed(database, app, merchants)
    await record(database, merchants[0], 1)
    await tamper(
        owner,
        "update florin.audit set created_at = created_at - interval '1 hour'"
        " where id = (select id from florin.audit order by id desc limit 1)",
    )
    [finding] = (await audit_seals.verify_records(app)).findings
    assert finding.endswith("has no seal")


async def test_a_history_written_again_with_its_seals_differs_from_what_was_noted(
    database: Database, owner: Any, app: Any, merchants: list[UUID]
) -> None:
    await sealed(database, app, merchants)
    before = await audit_seals.verify_records(app)
    await tamper(
        owner,
        "update florin.audit set actor = 'mem_x' where actor = 'mem_1';"
        " truncate florin.audit_seal, florin.audit_checkpoint",
    )
    await app.fetchrow(SEAL, 1000)
    after = await audit_seals.verify_records(app)
    assert after.findings == []  # consistent in itself
    noted = {before.checkpoint: before.hash}
    [finding] = (await audit_seals.verify_records(app, noted)).findings
    assert finding == "checkpoint 3 was removed: the database was rewritten"
    await record(database, merchants[0], 1)
    await app.fetchrow(SEAL, 1)
    await record(database, merchants[0], 1)
    await app.fetchrow(SEAL, 1)
    [finding] = (await audit_seals.verify_records(app, noted)).findings
    assert finding == "checkpoint 3 is another than it was: the database was rewritten"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("verb", ["update florin.{} set hash = hash", "delete from florin.{}"])
async def test_neither_role_changes_the_audit_or_its_seals(
    owner: Any, app: Any, table: str, verb: str
) -> None:
    statement = verb.format(table).replace("audit set hash = hash", "audit set actor = actor")
    for role in (owner, app):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await role.execute(statement)


async def test_a_worker_seals_the_audit_and_logs_the_checkpoint(
    database: Database, app: Any, merchants: list[UUID], workers: Crew
) -> None:
    await record(database, merchants[0])
    async with database.transaction() as tx:
        await tx.run(
            "select queue_put(array['retention'], array['seal'], array[1], array['{}'],"
            " array[0], array[null::timestamptz], array[null], array[null], null)"
        )
    worker = workers.start()

    async def verified() -> Any:
        found = await audit_seals.verify_records(app)
        return found if found.records == 5 else None

    found = await until(verified)
    assert found.findings == []
    Crew.stop(worker)
    assert found.hash in workers.log(worker)
