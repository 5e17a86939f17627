"""Programs: create, change, list and find them."""

from typing import Any
from uuid import UUID

import msgspec

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.countries import COUNTRIES
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.body import check_currency
from florin.kit.http.list_filters import Bounds, Conditions
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Database, Row, Tx
from florin.merchants.law.program_law import CardTerms, LawScope, require_law
from florin.merchants.program import (
    PROGRAMS,
    REMINDER_DAYS,
    Program,
    ProgramChange,
    ProgramRequest,
    program_from_row,
    terms_of,
)
from florin.merchants.program_rules import check_amounts, check_for_sale, check_max_balance
from florin.merchants.vat import MULTI_PURPOSE, Vat, read_vat

_INSERT = """
insert into florin.program (merchant, id, name, currency, min_amount, max_amount, denominations,
  expires_after_months, partial_redemption, metadata, pin, reminder_days, max_balance,
  max_per_payment, imported_codes, places, cash_out_limit, for_sale, code_in_mail, vat_country,
  vat_rate)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11, $12, $13, $14, $15, $16, $17,
  $18, $19, $20, $21)
"""
_UPDATE = """
update florin.program set name = $3, min_amount = $4, max_amount = $5, denominations = $6,
  expires_after_months = $7, metadata = $8::text::jsonb, reminder_days = $9, max_balance = $10,
  max_per_payment = $11, imported_codes = $12, places = $13, cash_out_limit = $14,
  for_sale = $15, code_in_mail = $16, vat_country = $17, vat_rate = $18
where merchant = $1 and id = $2
"""
_HOME = """
select country, test, (clock(id) at time zone timezone)::date as today from florin.merchant
where id = $1
"""


async def create_program(
    tx: Tx,
    merchant: UUID,
    request: ProgramRequest,
    *,
    program: UUID,
    by: AuditActor | None = None,
    in_production: bool = False,
) -> None:
    """Create a program. `in_production`: violations of the law are refused, except for test
    merchants. Raises InvalidRequest, RuleViolated.
    """
    check_currency(request.currency, param="currency")
    denominations = check_amounts(request.min_amount, request.max_amount, request.denominations)
    max_balance = None if request.max_balance is msgspec.UNSET else request.max_balance
    check_max_balance(request.max_amount, max_balance)
    imported = request.imported_codes is True
    check_for_sale(imported=imported, for_sale=request.for_sale)
    places = None if request.places is msgspec.UNSET else _checked_places(request.places)
    vat = MULTI_PURPOSE if request.vat is msgspec.UNSET else read_vat(request.vat)
    [home] = await tx.all(_HOME, merchant)
    terms = _terms_of_request(request, places or [home["country"]], max_balance, vat)
    require_law(terms, _scope(home, request.override, in_production=in_production))
    await tx.run(
        _INSERT,
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
        places,
        None if request.cash_out_limit is msgspec.UNSET else request.cash_out_limit,
        not imported if request.for_sale is msgspec.UNSET else request.for_sale,
        request.code_in_mail is True,
        *vat.place_and_rate,
    )
    by = by or AuditActor(merchant=merchant, actor=audit_log.FLORIN)
    await audit_log.record_audit(
        tx, by, "program.created", ids.show_id("prg", program), after=_facts(request)
    )


def _given(request: ProgramChange) -> dict[str, Any]:
    return {
        field: value
        for field in ProgramChange.__struct_fields__
        if (value := getattr(request, field)) is not msgspec.UNSET
    }


def _new_values(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of the program that a change sets."""
    new = {field: value for field, value in given.items() if field != "override"}
    if "places" in new:
        new["places"] = _checked_places(new["places"])
    if "vat" in new:
        new["vat"] = read_vat(new["vat"])
    return new


def _terms_of_request(
    request: ProgramRequest, places: list[str], max_balance: int | None, vat: Vat
) -> CardTerms:
    return CardTerms(
        places,
        request.currency,
        request.max_amount,
        max_balance,
        request.expires_after_months,
        vat.country,
    )


def _facts(request: ProgramRequest) -> dict[str, Any]:
    """What was given."""
    return {
        field: value
        for field, value in msgspec.structs.asdict(request).items()
        if value is not None and value is not msgspec.UNSET
    }


async def change_program(
    database: Database,
    by: AuditActor,
    text: str,
    request: ProgramChange,
    *,
    in_production: bool = False,
) -> Program:
    """`in_production`: as in create_program. Raises NotFound, InvalidRequest, RuleViolated."""
    async with database.transaction() as tx:
        program = parse_program_id(text)
        row = await tx.one(f"{PROGRAMS} and p.id = $2 for no key update of p", by.merchant, program)
        if row is None:
            raise NotFound
        now = program_from_row(row)
        given = _given(request)
        new = _new_values(given)
        then = msgspec.structs.replace(now, **new)
        denominations = _check_change(now, then, request)
        scope = _scope(row, request.override, in_production=in_production)
        require_law(terms_of(then), scope, before=terms_of(now))
        await tx.run(
            _UPDATE,
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
            then.places if "places" in new else row["places"],
            then.cash_out_limit,
            then.for_sale and not then.imported_codes,
            then.code_in_mail,
            *then.vat.place_and_rate,
        )
        changed = await tx.one(f"{PROGRAMS} and p.id = $2", by.merchant, program)
        before = {field: getattr(now, field) for field in new}
        await audit_log.record_audit(tx, by, "program.changed", text, before=before, after=given)
    assert changed is not None
    return program_from_row(changed)


def _check_change(now: Program, then: Program, request: ProgramChange) -> list[int] | None:
    """The denominations in order, each once. Raises InvalidRequest."""
    if now.imported_codes and not then.imported_codes:
        raise InvalidRequest("cards have such codes already", param="imported_codes")
    check_max_balance(then.max_amount, then.max_balance)
    check_for_sale(imported=then.imported_codes, for_sale=request.for_sale)
    return check_amounts(then.min_amount, then.max_amount, then.denominations)


async def list_programs(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None, created: Bounds = ()
) -> list[Program]:
    where = Conditions([merchant])
    where.add_bounds("p.created_at", created)
    if after is not None:
        where.add("p.id < {}", after)
    page = where.bind(limit)
    rows = await database.all(
        f"{PROGRAMS}{where} order by p.id desc limit {page}", *where.arguments
    )
    return [program_from_row(row) for row in rows]


async def find_program(database: Database, merchant: UUID, text: str) -> Program:
    """Raises NotFound."""
    row = await database.one(f"{PROGRAMS} and p.id = $2", merchant, parse_program_id(text))
    if row is None:
        raise NotFound
    return program_from_row(row)


def parse_program_id(text: str) -> UUID:
    return ids.require_id("prg", text)


def _scope(home: Row, override: str | msgspec.UnsetType, *, in_production: bool) -> LawScope:
    reason = None if override is msgspec.UNSET else override
    return LawScope(home["today"], in_production and not home["test"], reason)


def _checked_places(places: list[str]) -> list[str]:
    for place in places:
        if place != "EU" and place.partition("-")[0] not in COUNTRIES:
            raise InvalidRequest(
                f"{place} is in no country of ISO 3166-1; give one such as DE or US-CA",
                param="places",
            )
    return sorted(set(places))


def _days(given: list[int]) -> list[int]:
    return sorted(set(given), reverse=True)
