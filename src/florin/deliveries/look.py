"""Look: how a merchant's mails and vouchers look: its two colours and its image.

The colours are those of the card on its pages. Text on the card reads at 4.5 : 1 or more.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from florin.kit.colors import ink_on, mix_colors, readable_shade
from florin.kit.postgres.database import Database, Tx

_NIGHT = "#161E1B"  # the ground of a mail in the dark
_LOOKS = """
select merchant, card_color, line_color, logo, logo_kind from florin.branding
where merchant = any ($1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MerchantLook:
    """Colours as `#` with six digits. `ink` reads on `card`, as do `label` and `soft`; `night` is
    the card's colour for a button in the dark. `logo`: an image of the type `logo_kind`.
    """

    card: str
    line: str
    logo: bytes | None = None
    logo_kind: str | None = None

    @property
    def ink(self) -> str:
        return ink_on(self.card)

    @property
    def label(self) -> str:
        return readable_shade(self.line, self.ink, (self.card,))

    @property
    def soft(self) -> str:
        return readable_shade(mix_colors(self.card, self.ink, 0.6), self.ink, (self.card,))

    @property
    def night(self) -> str:
        return readable_shade(self.card, "#FFFFFF", (_NIGHT,))

    @property
    def night_ink(self) -> str:
        return ink_on(self.night)


# Of a merchant that chose no colours (merchants/branding.py), and of Florin's own mails.
PLAIN = MerchantLook(card="#1D3B5C", line="#E9BE6B")
HOUSE = MerchantLook(card="#0E5E50", line="#E9BE6B")


def look_from(row: Mapping[str, Any] | None) -> MerchantLook:
    """The look in a row of `branding`, or of a merchant without one."""
    if row is None:
        return PLAIN
    return MerchantLook(
        card=row["card_color"] or PLAIN.card,
        line=row["line_color"] or PLAIN.line,
        logo=row["logo"],
        logo_kind=row["logo_kind"],
    )


async def read_look(reader: Database | Tx, merchant: UUID) -> MerchantLook:
    return (await read_looks(reader, [merchant]))[merchant]


async def read_looks(
    reader: Database | Tx, merchants: Collection[UUID]
) -> dict[UUID, MerchantLook]:
    """The look of each merchant."""
    rows = {row["merchant"]: row for row in await reader.all(_LOOKS, list(merchants))}
    return {merchant: look_from(rows.get(merchant)) for merchant in merchants}
