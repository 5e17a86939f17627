"""Process registry: who runs is known; who cannot call the ledger is not ready."""

from pathlib import Path
from typing import Any

import pytest

from florin.kit.postgres import function_sets, process_registry
from florin.kit.postgres.database import Database
from florin.kit.postgres.process_registry import FunctionsMissing, ProcessRegistration
from florin.kit.postgres.sql_release import PACKAGED
from tests.conftest import Urls
from tests.support.instance import instance
from tests.support.sql_releases import sql_release
from tests.support.waiting import until
from tests.support.workers import crew


async def processes(owner: Any) -> list[str]:
    (own,) = [
        each
        for each in await function_sets.list_function_sets(owner)
        if each.name == PACKAGED.set_name
    ]
    return own.processes


async def test_an_instance_and_a_worker_are_registered_while_they_run(
    urls: Urls, owner: Any
) -> None:
    with (
        instance(urls.app, FLORIN_INSTANCE="api-7") as api,
        crew(urls.app, "florin", "worker") as w,
    ):
        worker = w.start()

        async def both() -> bool:
            return await processes(owner) == ["api-7", "worker-1"]

        await until(both)
        assert w.stop(worker) == 0
        api.stop()
    assert await processes(owner) == []


async def test_a_process_whose_functions_are_missing_is_not_ready(
    app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unknown = sql_release(tmp_path, ("ledger/clock.sql", "-- The only", "-- No"))
    monkeypatch.setattr(process_registry, "PACKAGED", unknown)
    registration = ProcessRegistration(name="api-8", release="new")
    for _ in range(2):
        with pytest.raises(FunctionsMissing, match="run florin migrate"):
            await registration.check(app)


async def test_functions_that_vanish_are_noticed(
    app: Any, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_registry, "RENEW_EVERY_S", 0.0)
    registration = ProcessRegistration(name="api-9", release="new")
    await registration.check(app)
    await owner.execute(f"alter schema {PACKAGED.set_name} rename to florin_gone")
    try:
        with pytest.raises(FunctionsMissing):
            await registration.check(app)
    finally:
        await owner.execute(f"alter schema florin_gone rename to {PACKAGED.set_name}")
    await registration.check(app)
    await registration.leave(app)
    assert await processes(owner) == []


async def test_a_record_that_cannot_be_written_stops_no_reads(app: Any, database: Database) -> None:
    registration = ProcessRegistration(name="api-10", release="new")
    await app.execute("set default_transaction_read_only = on")
    await registration.check(app)
    del database
