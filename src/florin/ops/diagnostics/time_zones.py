"""Time zones: compare the zones that registration accepts with those of the database."""

from collections.abc import Sequence

from florin.kit.time_zones import iana_zones
from florin.ops.diagnostics.finding import Finding
from florin.ops.postgres.connection import NotYet, open_session

_THERE = "select to_regclass('florin.merchant') is not null"
_UNKNOWN = """
select 'mer_' || replace(id::text, '-', '') || ' (' || timezone || ')' as merchant
  from florin.merchant where timezone <> all($1::text[]) order by id
"""
_NAMED_MAX = 5


async def compare_time_zones(dsn: str) -> list[Finding]:
    try:
        async with open_session(dsn) as connection:
            rows = await connection.fetch("select name from pg_timezone_names")
            known = {str(row["name"]) for row in rows}
            unknown: list[str] = []
            if await connection.fetchval(_THERE):
                rows = await connection.fetch(_UNKNOWN, list(known))
                unknown = [str(row["merchant"]) for row in rows]
    except NotYet as error:
        said = f"the time zones could not be compared: {error or 'no answer'}"
        return [Finding("db", "time zones", "warn", said)]
    return [judge_time_zones(iana_zones(), known, unknown)]


def judge_time_zones(here: frozenset[str], known: set[str], unknown: Sequence[str]) -> Finding:
    """Return the finding. Pure.

    `here` has the zones of this machine, `known` those of the database, `unknown` the merchants
    whose zone the database does not know.
    """
    if unknown:
        said = (
            f"the database does not know the time zone of {len(unknown)} merchants, whose cards"
            f" cannot be issued: {', '.join(unknown[:_NAMED_MAX])}; update the database's tzdata,"
            " or correct each with PATCH /merchant"
        )
        return Finding("db", "time zones", "fail", said)
    missing = sorted(here - known)
    if missing:
        said = (
            f"the database lacks {len(missing)} zones of this machine, such as"
            f" {', '.join(missing[:_NAMED_MAX])}: registration refuses them; update the database's"
            " tzdata"
        )
        return Finding("db", "time zones", "warn", said)
    return Finding("db", "time zones", "ok", f"the database knows all {len(here)} zones")
