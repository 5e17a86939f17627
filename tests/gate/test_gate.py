"""Gate: the real process against a real instance, right and wrong ones."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from florin.bench.scenarios import faulty_releases
from florin.gate import merchant
from florin.ops.fleet.options import florin_command
from florin.ops.rollout.gate import GateProcess
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from tests.support.instance import Instance, instance


@asynccontextmanager
async def gate(api: Instance) -> AsyncGenerator[GateProcess]:
    async with GateProcess(florin_command("gate"), api.environ, log_of(api)) as running:
        yield running


def log_of(api: Instance) -> Path:
    return api.log.with_name("gate")


def address(api: Instance) -> str:
    return f"127.0.0.1:{api.port}"


async def test_an_instance_that_is_right_passes_and_leaves_nothing_behind(
    api: Instance, owner: Any
) -> None:
    async with gate(api) as running:
        await running.check("api-1", address(api))
        await running.check("api-2", address(api))
    [row] = await owner.fetch(_MERCHANTS, merchant.NAME)
    assert row["test"]
    keys = await owner.fetch("select revoked_at from florin.api_key where merchant = $1", row["id"])
    assert keys
    assert all(key["revoked_at"] is not None for key in keys)
    assert await owner.fetch(_OPEN, merchant.NAME) == []
    async with gate(api) as running:  # the next deployment has the same merchant
        await running.check("api-1", address(api))
    assert len(await owner.fetch(_MERCHANTS, merchant.NAME)) == 1


async def test_a_mixed_load_is_verified_against_the_ledger(api: Instance, owner: Any) -> None:
    async with gate(api) as running:
        await running.begin_load(address(api), tls=False)
        first = await running.compare(60)
        last = await running.compare(120)
    assert (first.failed, last.failed) == (0, 0)
    assert last.requests >= first.requests + 120
    assert 0 < last.bound < first.bound < 0.06
    assert last.routes >= 20
    assert "with 95 % confidence" in last.describe()
    left = await owner.fetch(_OPEN, merchant.NAME)
    assert left == []  # all of it is reversed at the end


_MERCHANTS = "select id, test from florin.merchant where name = $1"
_OPEN = """
select a.balance, a.state from florin.account a join florin.merchant m on m.id = a.merchant
where m.name = $1 and (a.balance <> 0 or a.state <> 'closed')
"""


@pytest.mark.slow
async def test_a_cent_that_no_answer_shows_is_found_in_the_ledger(
    api: Instance, urls: Any, tmp_path: Path
) -> None:
    """The release takes a cent more for odd amounts, and answers as if it had not."""
    root = faulty_releases.make_faulty_release(tmp_path, "takes a cent")
    with instance(f"{urls.app}?connection_limit=10", PYTHONPATH=str(root / "src")) as wrong:
        async with gate(api) as running:
            await running.check("api-1", address(wrong))  # whose amounts are even
            await running.begin_load(address(wrong), tls=False)
            with pytest.raises(OperatorError, match="the ledger differs from the client's log"):
                await running.compare(100)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("takes twice as much", "is 1500, but 750 is right"),
        ("answers 500", "answered 500"),
    ],
)
async def test_an_instance_that_is_wrong_does_not_pass(
    api: Instance, urls: Any, tmp_path: Path, fault: str, says: str
) -> None:
    root = faulty_releases.make_faulty_release(tmp_path, fault)
    source = str(root / "src")
    with instance(f"{urls.app}?connection_limit=10", PYTHONPATH=source) as wrong:
        async with gate(api) as running:
            with pytest.raises(OperatorError, match=says):
                await running.check("api-1", address(wrong))


async def test_requests_that_fail_are_counted(api: Instance) -> None:
    with instance(api.environ["DATABASE_URL"]) as other:
        async with gate(api) as running:
            await running.begin_load(address(other), tls=False)
            await running.compare(40)
            other.kill()
            with pytest.raises(OperatorError, match=r"of .* requests failed, first"):
                await running.compare(20)


async def test_a_load_that_gets_no_answers_is_no_proof(api: Instance) -> None:
    async with gate(api) as running:
        await running.begin_load(address(api), tls=False)
        with pytest.raises(OperatorError, match="requests were answered in time"):
            await running.compare(100_000, within_s=0.5)


async def test_a_gate_that_is_killed_is_an_error_and_not_a_pass(api: Instance) -> None:
    async with gate(api) as running:
        assert running.process is not None
        processes.send_signal(running.process, signal.SIGKILL)
        with pytest.raises(OperatorError, match="The gate ended"):
            await running.check("api-1", address(api))


async def test_it_ends_with_its_supervisor(api: Instance) -> None:
    running = await GateProcess(florin_command("gate"), api.environ, log_of(api)).__aenter__()
    process = running.process
    assert process is not None
    running.close_input()
    async with asyncio.timeout(30):
        await processes.wait_gone(process)


async def test_settings_that_are_missing_are_named(api: Instance) -> None:
    environ = {name: v for name, v in api.environ.items() if name != "FLORIN_KEY_PEPPER"}
    with pytest.raises(OperatorError, match="FLORIN_KEY_PEPPER"):
        async with GateProcess(florin_command("gate"), environ, log_of(api)):
            pass
