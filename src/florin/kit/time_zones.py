"""Time zones: a valid name is known to the tzdata of Python and to that of PostgreSQL.

They are installed and updated separately. Python decides which names are IANA zones; PostgreSQL
computes with them, but also accepts abbreviations and POSIX rules ("CET-1") that are no zones.
"""

from functools import cache
from zoneinfo import available_timezones

import asyncpg

from florin.kit.postgres.database import Database

# Files in the tzdata directory of some systems that are not zones.
_NO_ZONES = frozenset({"Factory", "localtime", "posixrules"})


@cache
def iana_zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_ZONES


async def is_known_zone(database: Database, name: str) -> bool:
    """Whether a name is an IANA zone that the database knows."""
    if name not in iana_zones():
        return False
    try:
        await database.one("select clock_timestamp() at time zone $1", name)
    except asyncpg.InvalidParameterValueError:
        return False
    return True
