"""Programs: a merchant's rules for a kind of card."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.body import Amount, Currency, Metadata, Request, Text, check_currency
from florin.kit.http.list_filters import Bounds, Conditions
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Database, Tx
from florin.merchants.program_rules import check_amounts, check_for_sale, check_max_balance

REMINDER_DAYS = [30, 7]
Months = Annotated[int, Meta(ge=1, le=1200)]
ReminderDays = Annotated[
    list[Annotated[int, Meta(ge=1, le=365)]],
    Meta(
        max_length=5,
        description="Days before the expiry of a card on which its recipient is reminded.",
        examples=[[30, 7]],
    ),
]
Denominations = Annotated[list[Amount], Meta(min_length=1, max_length=100)]


class ProgramRequest(Request, kw_only=True):
    """Cards of this program are issued in `currency`, within the limits and in the denominations.
    `pin`: whether they have a PIN in addition to the code. `max_balance`: what loads, transfers
    and adjustments may bring a card to; `max_per_payment`: what a redemption or hold may take.
    `imported_codes`: imports may bring codes of other systems, 6 to 64 letters and digits, which
    are easier to guess; it cannot be undone. `for_sale`: whether the storefront sells its cards, by
    default unless it has `imported_codes`.
    """

    name: Text
    currency: Currency
    min_amount: Amount
    max_amount: Amount
    denominations: Denominations | None = None
    expires_after_months: Months | None = None
    partial_redemption: bool = True
    metadata: Metadata | None = None
    pin: bool | msgspec.UnsetType = msgspec.UNSET
    reminder_days: ReminderDays | msgspec.UnsetType = msgspec.UNSET
    max_balance: Amount | msgspec.UnsetType | None = msgspec.UNSET
    max_per_payment: Amount | msgspec.UnsetType | None = msgspec.UNSET
    imported_codes: bool | msgspec.UnsetType = msgspec.UNSET
    for_sale: bool | msgspec.UnsetType = msgspec.UNSET


class ProgramChange(Request, kw_only=True):
    """A field that is left out is not changed. A change applies to cards issued afterwards, and
    `for_sale` at once. A program that gets `imported_codes` is no longer for sale.
    """

    name: Text | msgspec.UnsetType = msgspec.UNSET
    min_amount: Amount | msgspec.UnsetType = msgspec.UNSET
    max_amount: Amount | msgspec.UnsetType = msgspec.UNSET
    denominations: Denominations | msgspec.UnsetType | None = msgspec.UNSET
    expires_after_months: Months | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType = msgspec.UNSET
    reminder_days: ReminderDays | msgspec.UnsetType = msgspec.UNSET
    max_balance: Amount | msgspec.UnsetType | None = msgspec.UNSET
    max_per_payment: Amount | msgspec.UnsetType | None = msgspec.UNSET
    imported_codes: bool | msgspec.UnsetType = msgspec.UNSET
    for_sale: bool | msgspec.UnsetType = msgspec.UNSET


class Program(msgspec.Struct, kw_only=True):
    """A card program."""

    id: str
    object: Literal["program"] = "program"
    name: str
    currency: str
    min_amount: int
    max_amount: int
    denominations: list[int] | None
    expires_after_months: int | None
    partial_redemption: bool
    pin: bool
    reminder_days: list[int]
    max_balance: int | None
    max_per_payment: int | None
    imported_codes: bool
    for_sale: bool
    metadata: dict[str, str]
    created_at: datetime


async def create_program(
    tx: Tx, merchant: UUID, request: ProgramRequest, *, program: UUID, by: AuditActor | None = None
) -> None:
    """Create a program. Raises InvalidRequest."""
    check_currency(request.currency, param="currency")
    denominations = check_amounts(request.min_amount, request.max_amount, request.denominations)
    max_balance = None if request.max_balance is msgspec.UNSET else request.max_balance
    check_max_balance(request.max_amount, max_balance)
    imported = request.imported_codes is True
    check_for_sale(imported=imported, for_sale=request.for_sale)
    await tx.run(
        "insert into florin.program (merchant, id, name, currency, min_amount, max_amount,"
        " denominations, expires_after_months, partial_redemption, metadata, pin, reminder_days,"
        " max_balance, max_per_payment, imported_codes, for_sale)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11, $12, $13, $14, $15,"
        " $16)",
        merchant,
        program,
        request.name,
        request.currency,
        request.min_amount,
        request.max_amount,
        denominations,
        request.expires_after_months,
        request.partial_redemption,
        json_text(request.metadata or {}),
        request.pin is True,
        _days(REMINDER_DAYS if request.reminder_days is msgspec.UNSET else request.reminder_days),
        max_balance,
        None if request.max_per_payment is msgspec.UNSET else request.max_per_payment,
        imported,
        not imported if request.for_sale is msgspec.UNSET else request.for_sale,
    )
    by = by or AuditActor(merchant=merchant, actor=audit_log.FLORIN)
    facts = {
        field: value
        for field, value in msgspec.structs.asdict(request).items()
        if value is not None and value is not msgspec.UNSET
    }
    await audit_log.record_audit(
        tx, by, "program.created", ids.show_id("prg", program), after=facts
    )


async def change_program(
    database: Database, by: AuditActor, text: str, request: ProgramChange
) -> Program:
    """Raises NotFound, InvalidRequest."""
    async with database.transaction() as tx:
        row = await tx.one(
            "select * from florin.program where merchant = $1 and id = $2 for no key update",
            by.merchant,
            parse_program_id(text),
        )
        if row is None:
            raise NotFound
        now = program_from_row(row)
        given = {
            field: value
            for field in ProgramChange.__struct_fields__
            if (value := getattr(request, field)) is not msgspec.UNSET
        }
        then = msgspec.structs.replace(now, **given)
        denominations = check_amounts(then.min_amount, then.max_amount, then.denominations)
        check_max_balance(then.max_amount, then.max_balance)
        if now.imported_codes and not then.imported_codes:
            raise InvalidRequest("cards have such codes already", param="imported_codes")
        check_for_sale(imported=then.imported_codes, for_sale=request.for_sale)
        for_sale = then.for_sale and not then.imported_codes
        changed = await tx.one(
            "update florin.program set name = $3, min_amount = $4, max_amount = $5,"
            " denominations = $6, expires_after_months = $7, metadata = $8::text::jsonb,"
            " reminder_days = $9, max_balance = $10, max_per_payment = $11, imported_codes = $12,"
            " for_sale = $13 where merchant = $1 and id = $2 returning *",
            by.merchant,
            row["id"],
            then.name,
            then.min_amount,
            then.max_amount,
            denominations,
            then.expires_after_months,
            json_text(then.metadata),
            _days(then.reminder_days),
            then.max_balance,
            then.max_per_payment,
            then.imported_codes,
            for_sale,
        )
        before = {field: getattr(now, field) for field in given}
        await audit_log.record_audit(tx, by, "program.changed", text, before=before, after=given)
    assert changed is not None
    return program_from_row(changed)


async def list_programs(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None, created: Bounds = ()
) -> list[Program]:
    where = Conditions([merchant])
    where.add_bounds("created_at", created)
    if after is not None:
        where.add("id < {}", after)
    page = where.bind(limit)
    rows = await database.all(
        f"select * from florin.program where merchant = $1{where} order by id desc limit {page}",  # noqa: S608 -- our own text
        *where.arguments,
    )
    return [program_from_row(row) for row in rows]


async def find_program(database: Database, merchant: UUID, text: str) -> Program:
    """Raises NotFound."""
    row = await database.one(
        "select * from florin.program where merchant = $1 and id = $2",
        merchant,
        parse_program_id(text),
    )
    if row is None:
        raise NotFound
    return program_from_row(row)


def program_from_row(row: Mapping[str, Any]) -> Program:
    return Program(
        id=ids.show_id("prg", row["id"]),
        name=row["name"],
        currency=row["currency"],
        min_amount=row["min_amount"],
        max_amount=row["max_amount"],
        denominations=None if row["denominations"] is None else list(row["denominations"]),
        expires_after_months=row["expires_after_months"],
        partial_redemption=row["partial_redemption"],
        pin=row["pin"],
        reminder_days=list(row["reminder_days"]),
        max_balance=row["max_balance"],
        max_per_payment=row["max_per_payment"],
        imported_codes=row["imported_codes"],
        for_sale=row["for_sale"] and not row["imported_codes"],
        metadata=msgspec.json.decode(row["metadata"], type=dict[str, str]),
        created_at=row["created_at"],
    )


def parse_program_id(text: str) -> UUID:
    return ids.require_id("prg", text)


def _days(given: list[int]) -> list[int]:
    return sorted(set(given), reverse=True)
