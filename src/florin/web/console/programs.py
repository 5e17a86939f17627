"""Programs: the rules of a kind of card."""

import re
from decimal import Decimal
from typing import Any

from litestar import get, post

from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.formats import minor_units
from florin.web.forms import PageForm
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_FIELDS = (
    "name",
    "min_amount",
    "max_amount",
    "denominations",
    "expires_after_months",
    "vat",
    "vat_country",
    "vat_rate",
)
_RATE = re.compile(r"(\d{1,3})(?:[.,](\d{1,2}))?")


@get("/console/programs", **PAGE)
async def list_programs(view: PageView, visitor: Visitor, after: str = "") -> PageResponse:
    frame = await open_frame(view, visitor)
    page = await frame.api.get("/programs", limit=50, starting_after=after)
    return frame.show("console/programs.html", page=page)


@get("/console/programs/new", **PAGE)
async def new_program(view: PageView, visitor: Visitor) -> PageResponse:
    frame = await open_frame(view, visitor)
    typed = {
        "currency": frame.currency,
        "expires_after_months": "60",
        "partial": "on",
        "for_sale": "on",
    }
    return _show(frame, None, typed=typed, errors={})


@post("/console/programs/new", status_code=200, **PAGE)
async def create_program(view: PageView, visitor: Visitor) -> PageResponse:
    frame = await open_frame(view, visitor)
    form = await view.form()
    currency = form.text("currency").upper() or frame.currency
    body, errors = _read(view, form, currency)
    body |= {
        "currency": currency,
        "partial_redemption": form.ticked("partial"),
        "pin": form.ticked("pin"),
        "for_sale": form.ticked("for_sale"),
        "code_in_mail": form.ticked("code_in_mail"),
    }
    if not errors:
        try:
            made = await frame.api.post("/programs", body, key=form.text("key"))
        except ApiProblem as refused:
            errors = _blamed(refused)
        else:
            return view.go(f"/console/programs/{made['id']}", done="created")
    ticks = ("partial", "pin", "for_sale", "code_in_mail")
    typed = {name: form.text(name) for name in (*_FIELDS, "currency", *ticks)}
    return _show(frame, None, typed=typed, errors=errors)


@get("/console/programs/{program:str}", **PAGE)
async def program_page(view: PageView, visitor: Visitor, program: str) -> PageResponse:
    frame = await open_frame(view, visitor)
    found = await frame.api.get(f"/programs/{program}")
    currency = found["currency"]
    amounts = [view.formats.typed(each, currency) for each in found["denominations"] or ()]
    months = found["expires_after_months"]
    typed = {
        "name": found["name"],
        "min_amount": view.formats.typed(found["min_amount"], currency),
        "max_amount": view.formats.typed(found["max_amount"], currency),
        "denominations": "; ".join(amounts),
        "expires_after_months": "" if months is None else str(months),
        "for_sale": "on" if found["for_sale"] else "",
        "code_in_mail": "on" if found["code_in_mail"] else "",
        **_typed_vat(found["vat"]),
    }
    return _show(frame, found, typed=typed, errors={})


@post("/console/programs/{program:str}", status_code=200, **PAGE)
async def change_program(view: PageView, visitor: Visitor, program: str) -> PageResponse:
    frame = await open_frame(view, visitor)
    found = await frame.api.get(f"/programs/{program}")
    form = await view.form()
    body, errors = _read(view, form, found["currency"])
    if not found["imported_codes"]:
        body["for_sale"] = form.ticked("for_sale")
    body["code_in_mail"] = form.ticked("code_in_mail")
    if not errors:
        try:
            await frame.api.patch(f"/programs/{program}", body)
        except ApiProblem as refused:
            errors = _blamed(refused)
        else:
            return view.go(f"/console/programs/{program}", done="saved")
    typed = {name: form.text(name) for name in (*_FIELDS, "for_sale", "code_in_mail")}
    return _show(frame, found, typed=typed, errors=errors)


def _read(view: PageView, form: PageForm, currency: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The body of the API, and what is wrong with the form, by field."""
    wrong = view.word("Type an amount, such as 25.00.")
    errors: dict[str, str] = {}
    body: dict[str, Any] = {"name": form.text("name")}
    for name in ("min_amount", "max_amount"):
        body[name] = _amount(form.text(name), currency)
        if not body[name]:
            errors[name] = wrong
    offered = [each.strip() for each in form.text("denominations").split(";") if each.strip()]
    amounts = [_amount(each, currency) for each in offered]
    if not all(amounts):
        errors["denominations"] = view.word("Separate amounts by a semicolon: 25; 50; 100.")
    body["denominations"] = amounts or None
    months = form.text("expires_after_months")
    body["expires_after_months"] = int(months) if months.isdecimal() else None
    if months and not months.isdecimal():
        errors["expires_after_months"] = view.word("Type a whole number of months, or nothing.")
    vat, wrong_vat = _read_vat(view, form)
    return body | {"vat": vat}, errors | wrong_vat


def _read_vat(view: PageView, form: PageForm) -> tuple[dict[str, Any], dict[str, str]]:
    """The VAT of the API's body, and what is wrong with it, by field."""
    if form.text("vat") != "single_purpose":
        return {"treatment": "multi_purpose"}, {}
    errors: dict[str, str] = {}
    country = form.text("vat_country").upper()
    if not country:
        errors["vat_country"] = view.word("Type the two letters of a country, such as DE.")
    rate = _RATE.fullmatch(form.text("vat_rate").rstrip("% "))
    if rate is None:
        errors["vat_rate"] = view.word("Type a rate in percent, such as 19 or 5.5.")
        return {}, errors
    hundredths = int(rate[1]) * 100 + int((rate[2] or "").ljust(2, "0"))
    return {"treatment": "single_purpose", "country": country, "rate": hundredths}, errors


def _typed_vat(vat: dict[str, Any]) -> dict[str, str]:
    """The fields of the form for the VAT of a program."""
    rate = "" if vat["rate"] is None else f"{Decimal(vat['rate']).scaleb(-2).normalize():f}"
    return {"vat": vat["treatment"], "vat_country": vat["country"] or "", "vat_rate": rate}


def _amount(typed: str, currency: str) -> int | None:
    return minor_units(typed, currency) if len(currency) == 3 and currency.isalpha() else None  # noqa: PLR2004 -- ISO 4217


def _blamed(refused: ApiProblem) -> dict[str, str]:
    if refused.status != 422:  # noqa: PLR2004 -- invalid
        raise refused
    return refused.details() or {"": refused.detail}


def _show(
    frame: ConsoleFrame,
    program: dict[str, Any] | None,
    *,
    typed: dict[str, str],
    errors: dict[str, str],
) -> PageResponse:
    return frame.show(
        "console/program.html",
        status=422 if errors else 200,
        program=program,
        typed=typed,
        errors=errors,
        key=frame.view.new_key(),
    )


handlers = [list_programs, new_program, create_program, program_page, change_program]
