"""VAT report: what is taxable in each month, by treatment and rate; from the entries, to the unit.

Of single-purpose cards what was sold is taxable, less what went back: to buyers by refunds and
disputes, to holders in cash. Their redemptions are no supplies, and VAT stays due on what expires
(Directive 2006/112/EC, article 30b(1)). Of multi-purpose cards what was redeemed is taxable, less
what was given back, at the rates of what was bought, which Florin does not know (article 30b(2)).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.kit.csv_text import Cell
from florin.merchants.vat import VatTreatment
from florin.reports.report_runner import ReportRunner

COLUMNS = (
    "month", "currency", "treatment", "country", "rate", "sold", "returned", "redeemed", "refunded",
    "expired", "taxable", "net", "vat",
)  # fmt: skip

_SOLD = ("issue", "activate", "load")
_RETURNED = ("clawback", "giveback", "dispute", "cash_out")
_SPENT = ("redeem", "refund", "expire", "reinstate")
_KINDS = (*_SOLD, *_RETURNED, *_SPENT, "transfer")
# One ordered index scan for each kind (transfer_by_kind). Value that moves between cards of one
# treatment is neither sold nor returned; between others it is both. What an import issues was sold
# elsewhere; a card that it brings unsold is sold here, when it is activated. VAT is rounded for
# each entry, as `contained_vat` does.
# An instance of the release before `vat` issues cards without a treatment, also those of an order
# that has one: the receipt of the buyer counts.
_CARDS = """(
    select c.id, c.job, coalesce(c.vat_country, o.vat_country) as vat_country,
      coalesce(c.vat_rate, o.vat_rate) as vat_rate
    from florin.card c
    left join lateral (
      select i.vat_country, i.vat_rate from florin.order_card k
      join florin.order_item i on i.merchant = k.merchant and i.id = k.item
      where c.vat_country is null and k.merchant = $1 and k.card = c.id
        and i.vat_country is not null limit 1) o on true
    where c.merchant = $1)"""
_VAT = f"""
select e.month, e.currency, e.vat_country, e.vat_rate,
  coalesce(sum(e.change) filter (where e.what = 'sold'), 0)::bigint as sold,
  coalesce(-sum(e.change) filter (where e.what = 'returned'), 0)::bigint as returned,
  coalesce(-sum(e.change) filter (where e.what = 'redeem'), 0)::bigint as redeemed,
  coalesce(sum(e.change) filter (where e.what = 'refund'), 0)::bigint as refunded,
  coalesce(-sum(e.change) filter (where e.what in ('expire', 'reinstate')), 0)::bigint as expired,
  coalesce(sum(round(e.change::numeric * e.vat_rate / (10000 + e.vat_rate)))
    filter (where e.what in ('sold', 'returned')), 0)::bigint as vat
from (
  select to_char(t.created_at at time zone $4, 'YYYY-MM') as month, t.currency, s.vat_country,
    s.vat_rate, s.sign * t.amount as change,
    case when t.kind = any ('{{{",".join(_SOLD)}}}') then 'sold'
      when t.kind = any ('{{{",".join(_RETURNED)}}}') then 'returned'
      when t.kind = 'transfer' then case s.sign when 1 then 'sold' else 'returned' end
      else t.kind::text end as what
  from unnest('{{{",".join(_KINDS)}}}'::florin.transfer_kind[]) k
  cross join lateral (
    select t.* from florin.transfer t
    where t.merchant = $1 and t.kind = k and t.created_at >= $2 and t.created_at < $3) t
  left join {_CARDS} d on d.id = t.debit_card
  left join {_CARDS} c on c.id = t.credit_card
  cross join lateral (values (d.id, d.vat_country, d.vat_rate, d.job, -1),
    (c.id, c.vat_country, c.vat_rate, c.job, 1)) s (card, vat_country, vat_rate, job, sign)
  where s.card is not null
    and (t.kind <> 'transfer'
      or (d.vat_country, d.vat_rate) is distinct from (c.vat_country, c.vat_rate))
    and not (t.kind = 'issue' and s.job is not null and exists (
      select from florin.job j where j.merchant = $1 and j.id = s.job and j.kind = 'import'))
) e group by 1, 2, 3, 4 order by 1, 2, e.vat_country nulls last, e.vat_rate
"""  # noqa: S608 -- only texts of this module


class VatLine(msgspec.Struct, kw_only=True, frozen=True):
    """A month of cards of one treatment, in minor units. `rate` is in hundredths of a percent.
    `returned`: taken back for refunds and disputes, and paid out in cash. `expired`: less what was
    put back. `taxable`: of single-purpose cards `sold` less `returned`, of which `vat` is VAT and
    `net` the rest; of multi-purpose cards `redeemed` less `refunded`, at the rates of what was
    bought.
    """

    month: str
    currency: str
    treatment: VatTreatment
    country: str | None
    rate: int | None
    sold: int
    returned: int
    redeemed: int
    refunded: int
    expired: int
    taxable: int
    net: int | None
    vat: int | None

    def cells(self) -> list[Cell]:
        """In the order of COLUMNS."""
        return [getattr(self, name) for name in COLUMNS]


class VatReport(msgspec.Struct, kw_only=True, frozen=True):
    """What is taxable from an instant on and before another, by month, currency, and rate."""

    object: Literal["vat_report"] = "vat_report"
    from_: datetime = msgspec.field(name="from")
    to: datetime
    lines: list[VatLine]


async def read_vat_lines(
    reports: ReportRunner, merchant: UUID, begin: datetime, end: datetime, zone: str
) -> list[VatLine]:
    """The months in `zone` of what happened from `begin` on and before `end`. Raises Overloaded."""
    rows = await reports.rows(merchant, _VAT, merchant, begin, end, zone)
    return [_line(row) for row in rows]


def _line(row: Mapping[str, Any]) -> VatLine:
    single = row["vat_country"] is not None
    taxable = row["sold"] - row["returned"] if single else row["redeemed"] - row["refunded"]
    return VatLine(
        month=row["month"],
        currency=row["currency"],
        treatment="single_purpose" if single else "multi_purpose",
        country=row["vat_country"],
        rate=row["vat_rate"],
        sold=row["sold"],
        returned=row["returned"],
        redeemed=row["redeemed"],
        refunded=row["refunded"],
        expired=row["expired"],
        taxable=taxable,
        net=taxable - row["vat"] if single else None,
        vat=row["vat"] if single else None,
    )
