"""Gateway checks: whether each gateway accepts its key, and whether its webhooks would arrive."""

import asyncio
from typing import NamedTuple

from florin.kit import ids
from florin.kit.postgres.database import Database, Row
from florin.payments.gateway import GatewayUnavailable
from florin.payments.gateway_account import webhook_path
from florin.payments.gateway_directory import DEFAULT, AccountGateway, GatewayDirectory
from florin.payments.webhook_address import find_address_problem

PROVIDERS = ("stripe", "paypal")
NO_WEBHOOKS = "nothing to verify its webhooks with is set: payments are found by asking alone"
_TOGETHER = 8

_ON = """
select *, previous_until > clock_timestamp() as both_secrets from florin.gateway
where state = 'on' order by merchant, id
"""


class GatewayState(NamedTuple):
    """What a check found. `merchant`: of a gateway of its own. `account`: the gateway's own name of
    it. `problem`: why it cannot be used; `webhook_problem`: why its webhooks do not arrive.
    """

    provider: str
    gateway: str
    merchant: str | None
    account: str | None
    problem: str | None
    webhook_problem: str | None


async def check_installed(gateways: GatewayDirectory, origin: str) -> list[GatewayState]:
    """Check the installation's own gateways. `origin`: the beginning of Florin's addresses."""
    return [
        await _check(each.gateway, provider, DEFAULT, None, origin)
        for provider in PROVIDERS
        for each in gateways.installed(provider)
    ]


async def check_accounts(
    database: Database, gateways: GatewayDirectory, origin: str
) -> list[GatewayState]:
    """Check the gateways of merchants that are on."""
    turn = asyncio.Semaphore(_TOGETHER)

    rows = await database.all(_ON)

    async def check_row(row: Row) -> GatewayState:
        name, merchant = ids.show_id("gtw", row["id"]), ids.show_id("mer", row["merchant"])
        async with turn:
            try:
                account = gateways.account(row)
            except GatewayUnavailable as error:
                return GatewayState(row["provider"], name, merchant, None, str(error), None)
            return await _check(account, row["provider"], name, merchant, origin)

    return await asyncio.gather(*(check_row(row) for row in rows))


async def _check(
    gateway: AccountGateway, provider: str, name: str, merchant: str | None, origin: str
) -> GatewayState:
    account, problem = None, None
    try:
        account = await gateway.check()
    except GatewayUnavailable as error:
        problem = str(error)[:300]
    missing = NO_WEBHOOKS
    if gateway.takes_webhooks:
        address = f"{origin.rstrip('/')}{webhook_path(provider, name)}"
        missing = await find_address_problem(address)
    return GatewayState(provider, name, merchant, account, problem, missing)
