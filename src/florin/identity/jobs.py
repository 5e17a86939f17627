"""Jobs: rows of signing in that say nothing any more are deleted, some at a time."""

from florin.identity.credentials.lockout import FORGOTTEN_AFTER_S
from florin.kit.postgres.database import Database

# A sign-in that is over is kept for a while: a token of it that comes back is still told to be an
# old one, and its place is still known (see lockout.py).
_OVER = {
    "session": "expires_at < clock_timestamp() - interval '60 days'",
    "email_token": "expires_at < clock_timestamp() - interval '30 days'",
    "failed_attempt": f"last_at < clock_timestamp() - interval '{FORGOTTEN_AFTER_S} s'",
}


async def delete_expired_rows(database: Database, *, most: int = 1000) -> int:
    """Delete at most so many rows of each table; how many they were. Repeat until it is 0."""
    deleted = 0
    for table, over in _OVER.items():
        row = await database.one(
            f"with gone as (delete from florin.{table} where ctid = any(array("  # noqa: S608
            f"select ctid from florin.{table} where {over} limit $1 for update skip locked))"
            " returning 1) select count(*) as n from gone",
            most,
        )
        assert row is not None
        deleted += row["n"]
    return deleted
