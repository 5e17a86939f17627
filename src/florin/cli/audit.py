"""Audit: show the operations on the fleet, and verify that no record was changed."""

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of, whole_number
from florin.ops.fleet import audit_log
from florin.ops.fleet.home import Home
from florin.ops.system.console import OperatorError

if TYPE_CHECKING:
    from florin.identity.audit_seals import AuditVerification


def audit(
    verb: Annotated[
        Literal["verify"] | None,
        typer.Argument(help="verify: compute the seals of all records again.", show_default=False),
    ] = None,
    last: Annotated[int, whole_number("-n", "--last", least=1, help="Number of lines.")] = 20,
    *,
    autoscale: Annotated[
        bool, typer.Option("--autoscale", help="Show the decisions about the number of workers.")
    ] = False,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="With --autoscale: compute all again and compare."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the operations on the fleet: who, what, when, and the result; or verify the audit."""
    if verb == "verify":
        _verify(home_of(home), as_json=as_json)
        return
    if autoscale or replay:
        _decided(home_of(home), last, replay=replay, as_json=as_json)
        return
    entries = audit_log.read_operations(home_of(home), last)
    if as_json:
        print(msgspec.json.encode({"entries": entries}).decode())
    else:
        print(audit_log.format_operations(entries) or "No operations yet.")


def _verify(home: Home, *, as_json: bool) -> None:
    from florin.cli.database_url import know_engines
    from florin.ops.fleet import audit_seals

    know_engines(home)
    url = os.environ.get("DATABASE_URL_PRIMARY") or os.environ.get("DATABASE_URL")
    fleet = audit_seals.verify_operations(home)
    merchants: AuditVerification | None = None
    findings = [f"fleet: {each}" for each in fleet.findings]
    if url:
        merchants = asyncio.run(_verify_merchants(url, audit_seals.noted_checkpoints(home)))
        findings += [f"merchants: {each}" for each in merchants.findings]
    if as_json:
        document = {"intact": not findings, "fleet": fleet, "merchants": merchants}
        print(msgspec.json.encode(document).decode())
    else:
        print(f"Fleet: {fleet.lines} operations, {fleet.unsealed} not sealed yet.")
        if merchants is not None:
            print(
                f"Merchants: {merchants.records} sealed records of {merchants.merchants} merchants,"
                f" {merchants.unsealed} not sealed yet; checkpoint {merchants.checkpoint}"
                f" {merchants.hash[:16]}"
            )
        for finding in findings:
            print(f"  {finding}")
    if findings:
        raise OperatorError(
            "The audit is not intact; see docs/operations/runbooks/audit-not-intact.md."
        )
    if not as_json:
        print("The audit is intact." if url else "The database is not known: set DATABASE_URL.")


async def _verify_merchants(url: str, known: Mapping[int, str]) -> "AuditVerification":
    import asyncpg

    from florin.identity.audit_seals import verify_records
    from florin.kit.postgres.database import BROKEN
    from florin.ops.postgres.connection import open_session

    try:
        async with open_session(url) as connection:
            return await verify_records(connection, known)
    except BROKEN:
        raise OperatorError(
            "The database cannot be reached; start it, or correct DATABASE_URL."
        ) from None
    except asyncpg.UndefinedTableError:
        raise OperatorError("The database has no seals yet; run florin migrate first.") from None


def _decided(home: Home, last: int, *, replay: bool, as_json: bool) -> None:
    from florin.ops.autoscaling import decision_log

    entries = decision_log.read_decisions(home, None if replay else last)
    if not replay:
        document = msgspec.json.encode({"decisions": entries}).decode()
        print(
            document if as_json else decision_log.format_decisions(entries) or "No decisions yet."
        )
        return
    other = decision_log.replay_differences(entries)
    equal = len(entries) - len(other)
    if as_json:
        print(msgspec.json.encode({"decisions": len(entries), "equal": equal}).decode())
    else:
        print(f"{equal} of {len(entries)} decisions are the same when computed again.")
    if other:
        raise OperatorError(f"The decision of {other[0].at} differs: other code made it.")


COMMANDS = (("audit", audit, "florin audit verify"),)
