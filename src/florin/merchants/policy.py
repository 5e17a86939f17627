"""Policy: the second factor that a merchant requires of its members, and its time zone."""

from typing import Annotated

import msgspec
from msgspec import Meta

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.identity.members import Role
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.body import Request, Text
from florin.kit.postgres.database import Database
from florin.merchants.merchant import Merchant, check_time_zone, merchant_from


class MerchantChange(Request, kw_only=True):
    """A field that is left out is not changed. `second_factor_roles`: the roles whose members must
    have a second factor. `timezone`: applies to cards issued or activated afterwards.
    """

    second_factor_roles: Annotated[list[Role], Meta(max_length=4)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    timezone: Text | msgspec.UnsetType = msgspec.UNSET


async def change_merchant_policy(
    database: Database, by: AuditActor, request: MerchantChange
) -> Merchant:
    """Change a merchant's policy. Raises InvalidRequest for an unknown time zone."""
    given: dict[str, object] = {}
    if request.second_factor_roles is not msgspec.UNSET:
        given["second_factor_roles"] = sorted(set(request.second_factor_roles))
    if request.timezone is not msgspec.UNSET:
        await check_time_zone(database, request.timezone, param="timezone")
        given["timezone"] = request.timezone
    async with database.transaction() as tx:
        was = await tx.one(
            "select * from florin.merchant where id = $1 for no key update", by.merchant
        )
        if was is None:
            raise NotFound
        if not given:
            return merchant_from(was)
        row = await tx.one(
            "update florin.merchant set second_factor_roles = coalesce($2, second_factor_roles),"
            " timezone = coalesce($3, timezone) where id = $1 returning *",
            by.merchant,
            given.get("second_factor_roles"),
            given.get("timezone"),
        )
        assert row is not None
        await audit_log.record_audit(
            tx,
            by,
            "merchant.changed",
            ids.show_id("mer", by.merchant),
            before={field: was[field] for field in given},
            after=given,
        )
    return merchant_from(row)
