"""Quotas: list and change the limits per merchant."""

import asyncio
import getpass
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of
from florin.ops.system.console import OperatorError

Verb = Literal["list", "set"]


def quota(
    verb: Annotated[Verb, typer.Argument()] = "list",
    given: Annotated[list[str] | None, typer.Argument(metavar="[MERCHANT NAME N]")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List or set the limits per merchant: cards a day, open jobs, streams, API keys, members."""
    from florin.cli.database_url import know_engines

    wanted = list(given or ())
    if len(wanted) != (3 if verb == "set" else 0):
        raise OperatorError(
            "Use: florin quota set MERCHANT NAME N." if verb == "set" else "Use: florin quota list."
        )
    know_engines(home_of(home))
    url = os.environ.get("DATABASE_URL_PRIMARY") or os.environ.get("DATABASE_URL")
    if not url:
        raise OperatorError("Set DATABASE_URL to the database, or run from a home that is up.")
    document = asyncio.run(_do(url, wanted))
    print(msgspec.json.encode(document).decode() if as_json else _text(document))


async def _do(url: str, wanted: Sequence[str]) -> dict[str, Any]:
    import asyncpg

    from florin.kit import ids
    from florin.kit.postgres.database import PoolLimits, open_connection
    from florin.kit.postgres.function_sets import use_installed_functions
    from florin.ledger import quotas

    try:
        connection = await open_connection(PoolLimits(url).dsn, name="florin quota")
    except (OSError, asyncpg.PostgresError) as error:
        raise OperatorError(f"The database cannot be reached: {error}.") from None
    try:
        await use_installed_functions(connection)
        if wanted:
            merchant, name, most = _limit(wanted, [q.name for q in await quotas.listed(connection)])
            was = await quotas.set_limit(
                connection, merchant, name, most, actor=f"operator:{getpass.getuser()}"
            )
            return {"merchant": wanted[0], "quota": name, "limit": most, "was": was}
        return {
            "quotas": [
                {
                    "quota": each.name,
                    "default": each.default,
                    "merchants": {ids.show_id("mer", m): n for m, n in each.merchants.items()},
                }
                for each in await quotas.listed(connection)
            ]
        }
    except asyncpg.ForeignKeyViolationError:
        raise OperatorError(f"There is no merchant {wanted[0]}.") from None
    except asyncpg.PostgresError as error:
        raise OperatorError(f"The database refused: {error}; florin migrate may help.") from None
    finally:
        await connection.close()


def _limit(wanted: Sequence[str], names: Sequence[str]) -> tuple[UUID, str, int]:
    """Read MERCHANT NAME N. Raises OperatorError."""
    from florin.kit import ids

    text, name, number = wanted
    merchant = ids.parse_id("mer", text)
    if merchant is None:
        raise OperatorError(f"Invalid merchant id {text}: it looks like mer_01a20e61….")
    if name not in names:
        raise OperatorError(f"Unknown quota {name}: use one of {', '.join(names)}.")
    if not (number.isascii() and number.isdecimal() and int(number) < 2**63):
        raise OperatorError(f"Invalid limit {number}: it must be a whole number from 0.")
    return merchant, name, int(number)


def _text(document: dict[str, Any]) -> str:
    if "limit" in document:
        return (
            f"{document['quota']} of {document['merchant']}: {document['limit']}"
            f" (it was {document['was']})."
        )
    lines: list[str] = []
    for each in document["quotas"]:
        lines.append(f"{each['quota']}: {each['default']}")
        lines += [f"  {merchant}: {most}" for merchant, most in each["merchants"].items()]
    return "\n".join(lines)


COMMANDS = (("quota", quota, "florin quota set mer_01a2… cards_per_day 20000000"),)
