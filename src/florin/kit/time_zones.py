"""Time zones: the two sources of their names, tzdata of Python and that of PostgreSQL.

They are installed and updated apart. A name must be in both: Python decides which are IANA zones,
PostgreSQL computes with them, and also takes abbreviations and rules ("CET-1") that are no zones.
"""

from functools import cache
from zoneinfo import available_timezones

import asyncpg

from florin.kit.postgres.database import Database

# Files that lie next to the zones on some machines.
_NO_ZONES = frozenset({"Factory", "localtime", "posixrules"})


@cache
def iana_zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_ZONES


async def is_known_zone(database: Database, name: str) -> bool:
    """Whether it is an IANA zone by which the database can compute."""
    if name not in iana_zones():
        return False
    try:
        await database.one("select clock_timestamp() at time zone $1", name)
    except asyncpg.InvalidParameterValueError:
        return False
    return True
