"""Next schema: a plugin that gives the tests of a release the schema of a later checkout.

`bin/test --previous` copies this file into the release before and names it to its pytest, so it
uses nothing but what 0.1.0 has. The template database is upgraded as a deploy does it: while
processes of that release run.
"""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

SCHEMA_FROM = "FLORIN_TEST_SCHEMA_FROM"  # the later checkout
_DATABASE = "florin_template"
_REGISTERS = "select to_regclass('florin.process') is not null"
_REGISTER = """
insert into florin.process (id, name, release, function_set, schema_number)
select gen_random_uuid(), 'previous', 'previous', s.name, s.schema_number
from florin.function_set s
"""


def pytest_configure() -> None:
    from tests.support import postgres_server

    fixtures: Any = postgres_server
    make_template = fixtures.make_template

    async def make_and_upgrade(at: Any) -> None:
        await make_template(at)
        await upgrade(at)

    fixtures.make_template = make_and_upgrade


async def upgrade(at: Any) -> None:
    """Upgrade the template on the server `at` to the schema of the checkout SCHEMA_FROM."""
    from florin.kit.postgres import database

    owner = await database.open_connection(at.url("florin_owner", _DATABASE), name="tests")
    try:
        if await owner.fetchval(_REGISTERS):
            await owner.execute(_REGISTER)
    finally:
        await owner.close()
    said = await asyncio.to_thread(
        subprocess.run,
        [str(Path(os.environ[SCHEMA_FROM], "bin", "florin")), "migrate"],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "DATABASE_URL": at.url("florin_app", _DATABASE),
            "DATABASE_URL_OWNER": at.url("florin_owner", _DATABASE),
            "FLORIN_RELEASE": "next",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
