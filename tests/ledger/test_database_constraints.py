"""The database enforces the rules of the ledger for every role, independent of the code."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from florin.kit import ids
from florin.kit.postgres.sql_release import PACKAGED
from tests.ledger import calls
from tests.ledger.model import Op

MONEY = ("account", "card", "transfer", "hold", "idempotency", "event")


@pytest.fixture
async def card(owner: Any) -> tuple[UUID, UUID]:
    """A merchant and a card of 100."""
    merchant = await calls.make_merchant(owner)
    program = await calls.make_program(owner, merchant)
    uuid = ids.new_id()
    await calls.issue(owner, merchant, program, [uuid], [100], activate=[True])
    return merchant, uuid


@pytest.mark.parametrize("table", MONEY)
@pytest.mark.parametrize(
    "statement",
    [
        "insert into florin.{} select * from florin.{} limit 1",
        "update florin.{} set merchant = merchant",
        "delete from florin.{}",
        "truncate florin.{}",
        "begin; lock table florin.{} in access exclusive mode",
    ],
)
async def test_the_application_role_cannot_change_the_ledger(
    app: Any, table: str, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(statement.format(table, table))


async def test_the_application_owns_nothing_and_may_create_nothing(app: Any) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("create table florin.mine (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("alter table florin.account disable trigger all")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("create or replace function clock(uuid) returns timestamptz"
                          " language sql as 'select now()'")  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        "update florin.transfer set amount = 1",
        "delete from florin.transfer",
        "truncate florin.transfer cascade",
        "update florin.event set type = 'x'",
        "delete from florin.account",
        "delete from florin.hold",
    ],
)
async def test_even_the_owner_cannot_rewrite_history(
    owner: Any, card: tuple[UUID, UUID], statement: str
) -> None:
    del card
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(statement)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("balance = -1", "account_balance"),
        ("balance = 9000000000000001", "account_balance"),
        ("held = 101", "account_held"),
        ("held = -1", "account_held"),
        ("state = 'closed'", "account_closed"),
        ("state = 'pending'", "account_pending"),
    ],
)
async def test_no_card_can_be_in_an_impossible_state(
    owner: Any, card: tuple[UUID, UUID], change: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await owner.execute(f"update florin.account set {change} where id = $1", card[1])  # noqa: S608
    broken: Any = refused.value  # asyncpg sets the fields of the message at run time
    assert broken.constraint_name == constraint


async def _insert(owner: Any, merchant: UUID, **columns: Any) -> None:
    row = {
        "merchant": merchant, "id": ids.new_id(), "kind": "redeem", "currency": "EUR", "amount": 1,
        "debit": "card", "credit": "merchant_payable", "actor": "test",
    } | columns  # fmt: skip
    names = ", ".join(row)
    values = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await owner.execute(
        f"insert into florin.transfer ({names}, created_at) values ({values}, now())",  # noqa: S608
        *row.values(),
    )


async def test_a_sequence_number_is_used_once(owner: Any, card: tuple[UUID, UUID]) -> None:
    merchant, uuid = card
    entry: dict[str, Any] = {"debit_card": uuid, "debit_sequence": 2, "debit_balance": 99}
    await _insert(owner, merchant, **entry)
    with pytest.raises(asyncpg.UniqueViolationError):
        await _insert(owner, merchant, **entry)


async def test_a_transfer_has_two_sides_and_an_amount(owner: Any, card: tuple[UUID, UUID]) -> None:
    merchant, uuid = card
    with pytest.raises(asyncpg.CheckViolationError):  # a side of kind card needs the card
        await _insert(owner, merchant)
    entry: dict[str, Any] = {"debit_card": uuid, "debit_sequence": 2, "debit_balance": 99}
    with pytest.raises(asyncpg.CheckViolationError):
        await _insert(owner, merchant, amount=0, **entry)
    with pytest.raises(asyncpg.CheckViolationError):  # both sides cannot be the same card
        await _insert(owner, merchant, credit="card", credit_card=uuid, credit_sequence=3,
                      credit_balance=1, **entry)  # fmt: skip
    with pytest.raises(asyncpg.ForeignKeyViolationError):  # nor a card that was not issued
        await _insert(owner, merchant, **{**entry, "debit_card": ids.new_id()})


async def test_refunds_never_pass_their_redemption(owner: Any, card: tuple[UUID, UUID]) -> None:
    merchant, uuid = card
    refund: dict[str, Any] = {
        "kind": "refund", "debit": "merchant_payable", "credit": "card", "credit_card": uuid,
        "credit_sequence": 2, "credit_balance": 110, "origin": ids.new_id(), "origin_amount": 10,
        "amount": 6, "refunded": 6,
    }  # fmt: skip
    with pytest.raises(asyncpg.CheckViolationError):
        await _insert(owner, merchant, **{**refund, "refunded": 11})
    await _insert(owner, merchant, **refund)
    with pytest.raises(asyncpg.UniqueViolationError):  # the same step twice
        await _insert(owner, merchant, **{**refund, "credit_sequence": 3})


async def test_a_key_is_claimed_once_for_each_merchant(
    owner: Any, app: Any, card: tuple[UUID, UUID]
) -> None:
    merchant, uuid = card
    other = await calls.make_merchant(owner)
    program = await calls.make_program(owner, other)
    theirs = ids.new_id()
    await calls.issue(owner, other, program, [theirs], [100], activate=[True])
    merchants = {"one": merchant, "two": other}
    ops = [
        Op(
            kind="redeem",
            merchant=name,
            id=ids.new_id(),
            card=each,
            amount=1,
            currency="EUR",
            key="k",
        )
        for name, each in (("one", uuid), ("two", theirs))
    ]
    rows = await calls.post(app, merchants, ops)
    assert [row["outcome"] for row in rows] == ["ok", "ok"]
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute(
            "insert into florin.idempotency select merchant, key, operation, fingerprint,"
            " gen_random_uuid(), null, now() from florin.idempotency where merchant = $1",
            merchant,
        )


# The merchant itself; and what belongs to the installation, not to a merchant: its migrations, its
# heartbeat, failed attempts of those who name no merchant, and its work.
INSTALLATION = {
    "merchant", "migration", "heartbeat", "failed_attempt",
    "function_set", "function_set_release", "process", "ledger_check",
    "outbox", "queue", "queue_job", "queue_tick", "queue_worker", "queue_audit", "queue_flow",
    "audit_checkpoint",
}  # fmt: skip


@pytest.mark.schema
async def test_every_key_begins_with_the_merchant(owner: Any) -> None:
    rows = await owner.fetch(
        "select c.conrelid::regclass::text as on_table, c.conname, c.contype::text,"
        " (select a.attname from pg_attribute a"
        "   where a.attrelid = c.conrelid and a.attnum = c.conkey[1]) as first"
        " from pg_constraint c join pg_namespace n on n.oid = c.connamespace"
        " where n.nspname = 'florin' and c.contype in ('p', 'u', 'f')"
    )
    assert len(rows) > 15
    wrong = {row["on_table"].removeprefix("florin.") for row in rows if row["first"] != "merchant"}
    assert wrong == INSTALLATION
    unique = await owner.fetch(
        "select i.indrelid::regclass::text as name from pg_index i"
        " join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace"
        " join pg_attribute a on a.attrelid = t.oid and a.attnum = i.indkey[0]"
        " where n.nspname = 'florin' and i.indisunique and a.attname <> 'merchant'"
    )
    assert {row["name"].removeprefix("florin.") for row in unique} == INSTALLATION


@pytest.mark.schema
async def test_functions_of_the_owner_pin_their_search_path_and_are_not_public(owner: Any) -> None:
    rows = await owner.fetch(
        "select p.proname, p.prosecdef, p.proconfig, p.proacl::text as acl from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = any(current_schemas(false))"
    )
    assert {row["proname"] for row in rows if row["prosecdef"]} == {
        "change_card",
        "erase_person",
        "post", "issue", "rotate_code", "take_job_quota", "reset_pin", "once", "once_each",
        "analyze_grown",
        "expire_due", "finish_job", "erase_codes", "forget_keys", "seal_audit", "post_gateway",
        "record_events", "pay_out", "undo_payout",
    }  # fmt: skip
    for row in rows:
        if row["prosecdef"]:
            pinned = f"search_path={PACKAGED.set_name}, florin, pg_temp"
            assert pinned in row["proconfig"], row
        assert row["acl"] is not None, row
        assert "{=X" not in row["acl"], row
        assert ",=X" not in row["acl"], row


async def test_everything_that_dates_an_event_holds_the_lock_of_a_running_transaction(
    owner: Any,
) -> None:
    """No event can be added before the position of a stream (begin_money)."""
    rows = await owner.fetch(
        "select p.proname, p.prosrc from pg_proc p"
        " where p.pronamespace = $1::regnamespace and p.prosrc like '%into event%'",
        PACKAGED.set_name,
    )
    assert len(rows) >= 5
    for row in rows:
        before, _, _ = row["prosrc"].partition("into event")
        assert "perform begin_money();" in before, row["proname"]


@pytest.mark.schema
async def test_money_is_counted_in_64_bits(owner: Any) -> None:
    """In the tables that hold any; months and rates are no money."""
    rows = await owner.fetch(
        "select table_name, column_name, data_type from information_schema.columns"
        " where table_schema = 'florin'"
        " and table_name in ('account', 'card', 'transfer', 'hold', 'program', 'event')"
        " and data_type in ('integer', 'smallint', 'real', 'double precision', 'numeric', 'money')"
    )
    found = {(row["table_name"], row["column_name"]) for row in rows}
    months = {(table, "expires_after_months") for table in ("account", "program")}
    assert found == {*months, ("program", "vat_rate"), ("card", "vat_rate")}
