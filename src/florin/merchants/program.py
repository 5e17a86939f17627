"""Program: a merchant's rules for a kind of card, as the API takes and shows them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from florin.kit import ids
from florin.kit.http.body import Amount, Currency, LongText, Metadata, Request, Text
from florin.merchants.law.country_rules import RuleWarning
from florin.merchants.law.program_law import CardTerms, find_violations, warnings_of
from florin.merchants.vat import Vat, VatRequest, vat_from_row

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
Place = Annotated[
    str,
    Meta(
        pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$(?!\n)",
        max_length=6,
        description="A country (ISO 3166-1), a subdivision of one (ISO 3166-2), or EU.",
        examples=["US-CA"],
    ),
]
Places = Annotated[
    list[Place],
    Meta(
        min_length=1,
        max_length=100,
        description="Where cards are sold; by default in the merchant's country.",
        examples=[["US-CA", "US-NY"]],
    ),
]


class ProgramRequest(Request, kw_only=True):
    """Cards of this program are issued in `currency`, within the limits and in the denominations.
    `pin`: whether they have a PIN in addition to the code. `max_balance`: what loads, transfers
    and adjustments may bring a card to; `max_per_payment`: what a redemption or hold may take.
    `imported_codes`: imports may bring codes of other systems, 6 to 64 letters and digits, which
    are easier to guess; it cannot be undone. `for_sale`: whether the storefront sells its cards, by
    default unless it has `imported_codes`. `cash_out_limit`: up to which balance a card is paid
    out in cash where the law of `places` does not say so, or says less. `code_in_mail`: whether
    gift mails have the code and, as a PDF, the voucher, in addition to the link; anyone who reads
    such a mail can spend the card. `vat`: whether VAT is due when cards are sold or, by default,
    when they are spent. `override`: why an owner accepts terms that the law of a place does not
    allow; it goes to the audit log.
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
    places: Places | msgspec.UnsetType = msgspec.UNSET
    cash_out_limit: Amount | msgspec.UnsetType | None = msgspec.UNSET
    code_in_mail: bool | msgspec.UnsetType = msgspec.UNSET
    vat: VatRequest | msgspec.UnsetType = msgspec.UNSET
    override: LongText | msgspec.UnsetType = msgspec.UNSET


class ProgramChange(Request, kw_only=True):
    """A field that is left out is not changed. A change applies to cards issued afterwards, and
    `for_sale` and `code_in_mail` at once; `vat` applies to orders placed and other cards issued
    afterwards. A program that gets `imported_codes` is no longer for sale.
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
    places: Places | msgspec.UnsetType = msgspec.UNSET
    cash_out_limit: Amount | msgspec.UnsetType | None = msgspec.UNSET
    code_in_mail: bool | msgspec.UnsetType = msgspec.UNSET
    vat: VatRequest | msgspec.UnsetType = msgspec.UNSET
    override: LongText | msgspec.UnsetType = msgspec.UNSET


class Program(msgspec.Struct, kw_only=True):
    """A card program. `warnings`: the rules of its `places` that it does not keep."""

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
    places: list[str]
    cash_out_limit: int | None
    code_in_mail: bool
    vat: Vat
    warnings: list[RuleWarning]
    metadata: dict[str, str]
    created_at: datetime


# The place of sale is the merchant's country unless the program names others.
PROGRAMS = """
select p.*, m.country, (clock(m.id) at time zone m.timezone)::date as today, m.test
from florin.program p join florin.merchant m on m.id = p.merchant where p.merchant = $1
"""


def program_from_row(row: Mapping[str, Any]) -> Program:
    """Make a program of a row of PROGRAMS."""
    program = Program(
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
        places=list(row["places"] or [row["country"]]),
        cash_out_limit=row["cash_out_limit"],
        code_in_mail=row["code_in_mail"],
        vat=vat_from_row(row),
        warnings=[],
        metadata=msgspec.json.decode(row["metadata"], type=dict[str, str]),
        created_at=row["created_at"],
    )
    program.warnings = warnings_of(find_violations(terms_of(program), row["today"]))
    return program


def terms_of(program: Program) -> CardTerms:
    return CardTerms(
        program.places,
        program.currency,
        program.max_amount,
        program.max_balance,
        program.expires_after_months,
        program.vat.country,
    )
