"""Expired sessions, tokens and failed attempts are deleted; current ones stay."""

from typing import Any

from florin.identity.jobs import delete_expired_rows
from florin.kit.postgres.database import Database
from tests.support.instance import Instance
from tests.support.members import address, client_of, login, register


async def test_what_is_over_is_deleted(api: Instance, owner: Any, database: Database) -> None:
    async with client_of(api) as http:
        for _ in range(3):
            await register(http)
            await login(http, address(), "wrong")
        assert await delete_expired_rows(database) == 0
        old = "clock_timestamp() - interval '61 days'"
        await owner.execute(
            f"update florin.session set expires_at = {old};"  # noqa: S608 -- our own text
            f"update florin.email_token set expires_at = {old};"
            f"update florin.failed_attempt set last_at = {old};"
        )
        user = await register(http)
        tables = len(["session", "email_token", "failed_attempt"])
        assert await delete_expired_rows(database, most=2) == 2 * tables
        while await delete_expired_rows(database, most=2):
            pass
        left = [
            await owner.fetchval(f"select count(*) from florin.{table}")  # noqa: S608
            for table in ("session", "email_token", "failed_attempt")
        ]
        assert left == [1, 1, 0]
        assert (await http.get("/auth/me", headers=user.headers)).status_code == 200
