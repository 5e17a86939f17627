"""Policy: what a merchant changes of itself: its name, time zone, look, and second factors."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.identity.members import Role
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.body import Request, Text
from florin.kit.postgres.database import Database, Row, Tx
from florin.merchants.branding import (
    Color,
    Logo,
    LogoUrl,
    Slug,
    branding_from,
    check_colors,
    read_logo,
    require_free_slug,
)
from florin.merchants.merchant import MERCHANTS, Merchant, check_time_zone, merchant_from

_LOOK = ("slug", "card_color", "line_color")
_CHANGE = """
update florin.merchant set name = coalesce($2, name),
  second_factor_roles = coalesce($3, second_factor_roles), timezone = coalesce($4, timezone)
where id = $1
"""
_BRANDING = """
insert into florin.branding as b (merchant, slug, card_color, line_color, logo, logo_kind, logo_tag)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (merchant) do update set slug = excluded.slug, card_color = excluded.card_color,
  line_color = excluded.line_color, changed_at = clock_timestamp(),
  logo = case when $8 then excluded.logo else b.logo end,
  logo_kind = case when $8 then excluded.logo_kind else b.logo_kind end,
  logo_tag = case when $8 then excluded.logo_tag else b.logo_tag end
"""


class MerchantChange(Request, kw_only=True):
    """A field that is left out is not changed. `second_factor_roles`: the roles whose members must
    have a second factor. `timezone`: applies to cards issued or activated afterwards. `slug`: the
    storefront's address; null: no storefront. `card_color`, `line_color`: of cards, with a contrast
    of 3 : 1 or more; `logo`: null removes it.
    """

    name: Text | msgspec.UnsetType = msgspec.UNSET
    second_factor_roles: Annotated[list[Role], Meta(max_length=4)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    timezone: Text | msgspec.UnsetType = msgspec.UNSET
    slug: Slug | msgspec.UnsetType | None = msgspec.UNSET
    card_color: Color | msgspec.UnsetType = msgspec.UNSET
    line_color: Color | msgspec.UnsetType = msgspec.UNSET
    logo: LogoUrl | msgspec.UnsetType | None = msgspec.UNSET


async def change_merchant_policy(
    database: Database, by: AuditActor, request: MerchantChange
) -> Merchant:
    """Change a merchant. Raises InvalidRequest, for example for an unknown time zone; SlugTaken."""
    given: dict[str, Any] = {
        field: value
        for field in MerchantChange.__struct_fields__
        if (value := getattr(request, field)) is not msgspec.UNSET
    }
    if "second_factor_roles" in given:
        given["second_factor_roles"] = sorted(set(given["second_factor_roles"]))
    if "timezone" in given:
        await check_time_zone(database, given["timezone"], param="timezone")
    for field in ("card_color", "line_color"):
        if field in given:
            given[field] = given[field].upper()
    logo = read_logo(given["logo"]) if given.get("logo") else None
    if "logo" in given:
        given["logo"] = logo.tag if logo else None
    async with database.transaction() as tx:
        # The lock is on the merchant alone: an outer join cannot be locked.
        await tx.run("select id from florin.merchant where id = $1 for no key update", by.merchant)
        was = await tx.one(f"{MERCHANTS} where m.id = $1", by.merchant)
        if was is None:
            raise NotFound
        if not given:
            return merchant_from(was)
        await tx.run(
            _CHANGE,
            by.merchant,
            given.get("name"),
            given.get("second_factor_roles"),
            given.get("timezone"),
        )
        if given.keys() & {*_LOOK, "logo"}:
            await _change_branding(tx, by, was, given, logo)
        row = await tx.one(f"{MERCHANTS} where m.id = $1", by.merchant)
        assert row is not None
        before = {field: was["logo_tag" if field == "logo" else field] for field in given}
        await audit_log.record_audit(
            tx,
            by,
            "merchant.changed",
            ids.show_id("mer", by.merchant),
            before=before,
            after=given,
        )
    return merchant_from(row)


async def _change_branding(
    tx: Tx, by: AuditActor, was: Row, given: Mapping[str, Any], logo: Logo | None
) -> None:
    """Raises InvalidRequest, SlugTaken."""
    look = branding_from(was)
    slug = given.get("slug", look.slug)
    card = given.get("card_color", look.card_color)
    line = given.get("line_color", look.line_color)
    check_colors(card, line)
    if slug is not None and slug != look.slug:
        await require_free_slug(tx, by.merchant, slug)
    await tx.run(
        _BRANDING,
        by.merchant,
        slug,
        card,
        line,
        None if logo is None else logo.content,
        None if logo is None else logo.kind,
        None if logo is None else logo.tag,
        "logo" in given,
    )
