"""Jobs: delete expired sessions, e-mail tokens and failed attempts in batches."""

from florin.identity.credentials.lockout import FORGOTTEN_AFTER_S
from florin.kit.postgres.database import Database

# An ended session is kept for a while: the reuse of one of its tokens is still detected, and its
# network is still known for the member (see lockout.py).
_OVER = {
    "session": "expires_at < clock_timestamp() - interval '60 days'",
    "email_token": "expires_at < clock_timestamp() - interval '30 days'",
    "failed_attempt": f"last_at < clock_timestamp() - interval '{FORGOTTEN_AFTER_S} s'",
}


async def delete_expired_rows(database: Database, *, most: int = 1000) -> int:
    """Delete at most `most` rows of each table; return their number. Repeat until it is 0."""
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
