"""Doctor: the command that checks the fleet and its environment."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of
from florin.ops.diagnostics.finding import Finding
from florin.ops.fleet.home import Home

if TYPE_CHECKING:
    from florin.kit.postgres.database import Database
    from florin.payments.gateway_checks import GatewayState
    from florin.payments.gateway_directory import GatewayDirectory


_WITHIN_S = 60
_PLACEHOLDER = "postgresql://florin_app@127.0.0.1/florin"


def doctor(
    topic: Annotated[
        Literal["db", "config", "fleet"] | None, typer.Argument(help="Only these checks.")
    ] = None,
    show: Annotated[
        Literal["example", "page"] | None,
        typer.Option(help="With config: print .env.example, or the page of the settings."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check settings, gateways, engines, ports, disk and connections; print what to do about
    failures.
    """
    import asyncio

    from florin.ops.diagnostics import doctor as checks

    if show is not None:
        from florin.kit.settings import reference

        print(reference.render_reference(show), end="")
        return
    found = asyncio.run(checks.run_checks(home_of(home), dict(os.environ), topic))
    if topic in {None, "config"}:
        found += asyncio.run(check_gateways(home_of(home), dict(os.environ)))
    if as_json:
        print(msgspec.json.encode({"checks": found}).decode())
    else:
        print(checks.format_checks(found))
    raise typer.Exit(1 if any(check.result == "fail" for check in found) else 0)


async def check_gateways(home: Home, environ: Mapping[str, str]) -> list[Finding]:
    """Check the keys and the webhook addresses of all gateways; of merchants' own, name those with
    a problem. Nothing is found where no gateway is connected.
    """
    from florin.kit.encryption import Sealer
    from florin.kit.postgres.database import Database
    from florin.kit.settings import InvalidSettings, read_settings
    from florin.ops.fleet import secrets
    from florin.ops.haproxy import frontend
    from florin.ops.topology.topology import running_urls
    from florin.payments.gateway_checks import check_installed
    from florin.payments.gateway_directory import GatewayDirectory

    known = dict(environ)
    if home.secrets.exists():
        known |= secrets.application_secrets(secrets.read_secrets(home), environ)
        known = running_urls(home) | known
    known.setdefault("FLORIN_ENV", "development")
    has_database = bool(known.setdefault("DATABASE_URL", _PLACEHOLDER) != _PLACEHOLDER)
    try:
        settings = read_settings(known)
    except InvalidSettings:
        return []  # the checks of the settings name them
    origin = settings.public_url or next(iter(frontend.base_urls(home)), settings.page_origin)
    database = Database(settings.primary_url, name="florin doctor")
    gateways = GatewayDirectory(settings, database, Sealer(*settings.key_ring("seal_key")))
    try:
        checked = [_own_finding(each) for each in await check_installed(gateways, origin)]
        if has_database:
            checked += await _of_merchants(database, gateways, origin)
    finally:
        await gateways.close()
    return checked + _advise_address(settings.public_url, checked)


async def _of_merchants(
    database: "Database", gateways: "GatewayDirectory", origin: str
) -> list[Finding]:
    import asyncio

    import asyncpg

    from florin.kit.errors import Refusal
    from florin.payments.gateway_checks import check_accounts

    try:
        async with asyncio.timeout(_WITHIN_S):
            await database.open()
            try:
                states = await check_accounts(database, gateways, origin)
            finally:
                await database.close()
    except asyncpg.UndefinedTableError:
        return []  # not migrated yet
    except (OSError, TimeoutError, asyncpg.PostgresError, Refusal) as error:
        said = f"those of merchants could not be checked: {error or type(error).__name__}"
        return [Finding("config", "gateways", "warn", said)]
    wrong = [each for each in states if each.problem or each.webhook_problem]
    named = [_finding(each, f"gateway {each.gateway} of {each.merchant}") for each in wrong]
    if len(wrong) < len(states):
        said = f"{len(states) - len(wrong)} of merchants accept their keys and get webhooks"
        named.append(Finding("config", "gateways", "ok", said))
    return named


def _own_finding(state: "GatewayState") -> Finding:
    return _finding(state, f"gateway {state.provider}")


def _finding(state: "GatewayState", name: str) -> Finding:
    if state.problem is not None:
        said = f"{state.provider} does not accept its key, or does not answer: {state.problem}"
        # A merchant's own key is the merchant's affair: the installation is not broken.
        return Finding("config", name, "warn" if state.merchant else "fail", said)
    if state.webhook_problem is not None:
        return Finding("config", name, "warn", f"no webhooks: {state.webhook_problem}")
    return Finding("config", name, "ok", f"accepts its key ({state.account}), and gets webhooks")


def _advise_address(public_url: str | None, checked: list[Finding]) -> list[Finding]:
    if not checked or public_url is not None:
        return []
    said = "FLORIN_PUBLIC_URL is not set: buyers and gateways need an address of Florin"
    return [Finding("config", "gateways", "warn", said)]
