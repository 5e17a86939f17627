"""VAT: whether it falls on the cards of a program when they are sold, or when they are spent.

Directive 2006/112/EC, articles 30a and 30b (as Directive 2016/1065 inserted them): of a
single-purpose voucher the place of supply and the VAT due are known when it is issued, and each
sale of it is the supply; of a multi-purpose voucher only its redemption is.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from florin.kit.countries import COUNTRIES
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import Request

RATE_MAX = 10_000
_WHOLE = 10_000  # hundredths of a percent

VatTreatment = Literal["single_purpose", "multi_purpose"]
VatCountry = Annotated[
    str,
    Meta(
        pattern=r"^[A-Z]{2}$(?!\n)",
        max_length=2,
        description="Where what the cards buy is supplied (ISO 3166-1).",
        examples=["DE"],
    ),
]
VatRate = Annotated[
    int,
    Meta(
        ge=0,
        le=RATE_MAX,
        description="In hundredths of a percent: 1900 is 19 %.",
        examples=[1900],
    ),
]


class VatRequest(Request, kw_only=True):
    """`single_purpose`: all that the cards buy is supplied in one `country` at one `rate`, so that
    VAT is due when they are sold. `multi_purpose`: it is due when they are spent.
    """

    treatment: VatTreatment
    country: VatCountry | None = None
    rate: VatRate | None = None


class Vat(msgspec.Struct, kw_only=True, frozen=True):
    """When VAT is due on cards. `country` and `rate` are null of multi-purpose cards."""

    treatment: VatTreatment
    country: str | None
    rate: int | None

    @property
    def place_and_rate(self) -> tuple[str | None, int | None]:
        """As the columns `vat_country` and `vat_rate` have them."""
        return self.country, self.rate


MULTI_PURPOSE = Vat(treatment="multi_purpose", country=None, rate=None)


def read_vat(request: VatRequest) -> Vat:
    """Raises InvalidRequest."""
    country, rate = request.country, request.rate
    if request.treatment == "multi_purpose":
        if country is not None or rate is not None:
            raise InvalidRequest(
                "multi_purpose has no country and no rate: they are known when a card is spent",
                param="vat",
            )
        return MULTI_PURPOSE
    if country is None or rate is None:
        raise InvalidRequest(
            "single_purpose needs the country and the rate of what the cards buy", param="vat"
        )
    if country not in COUNTRIES:
        raise InvalidRequest(
            f"{country} is no country of ISO 3166-1; give one such as DE", param="vat.country"
        )
    return Vat(treatment="single_purpose", country=country, rate=rate)


def vat_from_row(row: Mapping[str, Any]) -> Vat:
    """Of the columns `vat_country` and `vat_rate`."""
    if row["vat_country"] is None:
        return MULTI_PURPOSE
    country, rate = row["vat_country"], row["vat_rate"]
    return Vat(treatment="single_purpose", country=country, rate=rate)


def contained_vat(gross: int, rate: int) -> int:
    """The VAT within the price of one card, or within one movement of its money, in minor units:
    gross * rate / (100 % + rate), to the nearest unit, a half up. Sums are of such amounts, so that
    receipts and reports agree to the unit. `rate` is in hundredths of a percent.
    """
    whole = _WHOLE + rate
    return (2 * gross * rate + whole) // (2 * whole)


class ContainedVat(msgspec.Struct, kw_only=True, frozen=True):
    """What of a price is VAT at one rate of a country, in minor units: `net` and `vat` make up
    `gross`.
    """

    country: str
    rate: int
    gross: int
    net: int
    vat: int


def vat_of_items(items: Iterable[Mapping[str, Any]]) -> list[ContainedVat]:
    """The VAT within the price of items, which are `count` cards of `amount` each, by country and
    rate; nothing of multi-purpose cards.
    """
    sums: dict[tuple[str, int], tuple[int, int]] = {}
    for item in items:
        if item["vat_country"] is not None:
            key = (item["vat_country"], item["vat_rate"])
            gross, vat = sums.get(key, (0, 0))
            each = contained_vat(item["amount"], item["vat_rate"])
            sums[key] = (gross + item["amount"] * item["count"], vat + each * item["count"])
    return [
        ContainedVat(country=country, rate=rate, gross=gross, net=gross - vat, vat=vat)
        for (country, rate), (gross, vat) in sorted(sums.items())
    ]
