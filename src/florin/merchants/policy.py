"""Policy: what a merchant asks of its members."""

from typing import Annotated

from msgspec import Meta

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.identity.members import Role
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.body import Request
from florin.kit.postgres.database import Database
from florin.merchants.merchant import Merchant, merchant_from


class MerchantChange(Request, kw_only=True):
    """`second_factor_roles`: the roles whose members must have a second factor."""

    second_factor_roles: Annotated[list[Role], Meta(max_length=4)]


async def change(database: Database, by: AuditActor, want: MerchantChange) -> Merchant:
    roles = sorted(set(want.second_factor_roles))
    async with database.transaction() as tx:
        was = await tx.one(
            "select * from florin.merchant where id = $1 for no key update", by.merchant
        )
        if was is None:
            raise NotFound
        row = await tx.one(
            "update florin.merchant set second_factor_roles = $2 where id = $1 returning *",
            by.merchant,
            roles,
        )
        assert row is not None
        await audit_log.record(
            tx,
            by,
            "merchant.changed",
            ids.show("mer", by.merchant),
            before={"second_factor_roles": list(was["second_factor_roles"])},
            after={"second_factor_roles": roles},
        )
    return merchant_from(row)
