"""Queues by hand: `florin queue`, on a database with jobs in every state."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from florin.cli import queues
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.ops.fleet.audit_log import read_operations
from florin.ops.fleet.home import Home
from florin.ops.system.console import OperatorError
from tests.conftest import Urls


class Hand:
    """An operator at a terminal."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def says(self, *words: str) -> str:
        verb, *names = words
        verb_: Any = verb
        await asyncio.to_thread(queues.queue, verb_, names, None, False)
        return self._capsys.readouterr().out

    async def shows(self, *words: str) -> Any:
        verb, *names = words
        verb_: Any = verb
        await asyncio.to_thread(queues.queue, verb_, names, None, True)
        return json.loads(self._capsys.readouterr().out)


@pytest.fixture
async def hand(
    urls: Urls,
    owner: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncGenerator[Hand]:
    monkeypatch.setenv("DATABASE_URL", f"{urls.app}?connection_limit=5&pool_timeout=5")
    monkeypatch.setenv("FLORIN_HOME", str(tmp_path))
    await owner.execute("update florin.queue set paused = false")
    yield Hand(capsys)
    await owner.execute("delete from florin.queue_job; delete from florin.queue_worker")


async def dead(owner: Any, number: int) -> list[int]:
    """Add dead jobs; return their ids."""
    await enqueue_now(
        owner, *(NewJob(queue="bulk", kind="issue", dedupe=str(n)) for n in range(number))
    )
    rows = await owner.fetch(
        "update florin.queue_job set state = 2, attempts = 3, crashes = 1, error = 'it is broken'"
        " where queue = 'bulk' returning id"
    )
    return sorted(row["id"] for row in rows)


async def state(owner: Any, job: int) -> Any:
    row = await owner.fetchrow("select * from florin.queue_job where id = $1", job)
    return None if row is None else (row["state"], row["attempts"], row["crashes"])


async def test_list_shows_every_queue_and_worker(hand: Hand, owner: Any) -> None:
    await dead(owner, 2)
    await enqueue_now(owner, *(NewJob(queue="email-delivery", kind="x") for _ in range(3)))
    await owner.execute(
        "insert into florin.queue_worker (id, name, release, concurrency, busy, stopping) values"
        " (gen_random_uuid(), 'worker-7', 'r1', 5, 2, true)"
    )
    shown = await hand.shows("list")
    found = {queue["name"]: queue for queue in shown["queues"]}
    assert {"bulk", "gift-card-expiry", "retention", "cleanup-tokens"} <= set(found)
    assert (found["bulk"]["dead"], found["bulk"]["waiting"]) == (2, 0)
    assert found["email-delivery"]["waiting"] == 3
    assert found["email-delivery"]["oldest_s"] > 0
    (worker,) = shown["workers"]
    assert (worker["name"], worker["busy"], worker["stopping"]) == ("worker-7", 2, True)
    text = await hand.says("list")
    head, *lines = text.splitlines()
    assert head.split() == [
        *("queue", "waiting", "active", "delayed", "dead", "completed", "failed", "oldest")
    ]
    (line,) = (line.split() for line in lines if line.startswith("email-delivery "))
    assert line[1:5] == ["3", "0", "0", "0"]
    assert "worker-7: 2 of 5 busy, release r1, stopping" in text


async def test_failed_shows_the_errors(hand: Hand, owner: Any) -> None:
    assert await hand.says("failed") == "There are no dead jobs.\n"
    (job,) = await dead(owner, 1)
    (shown,) = (await hand.shows("failed"))["failed"]
    assert (shown["id"], shown["queue"], shown["kind"], shown["error"], shown["attempts"]) == (
        *(job, "bulk", "issue", "it is broken", 3),
    )
    assert f"{job}  bulk issue, 3 attempts: it is broken" in await hand.says("failed")


async def test_retry_gives_all_attempts_again(hand: Hand, owner: Any) -> None:
    one, two, three = await dead(owner, 3)
    said = await hand.says("retry", str(one), str(two))
    assert said == f"Queued again: {one}, {two}.\n"
    assert [await state(owner, job) for job in (one, two, three)] == [(0, 0, 0)] * 2 + [(2, 3, 1)]
    with pytest.raises(OperatorError, match=f"Job {one} is not dead"):
        await hand.says("retry", str(three), str(one))
    assert await state(owner, three) == (2, 3, 1), "half of it was done"
    with pytest.raises(OperatorError, match="Job ids are numbers"):
        await hand.says("retry", "all")
    acts = await owner.fetch("select * from florin.queue_audit where verb = 'retry' order by id")
    assert [act["subject"] for act in acts] == [str(one), str(two)]
    assert all(act["actor"].startswith("operator:") for act in acts)


async def test_discard_keeps_a_record(hand: Hand, owner: Any) -> None:
    (job,) = await dead(owner, 1)
    assert await hand.shows("discard", str(job)) == {"discard": [str(job)]}
    assert await state(owner, job) is None
    detail = await owner.fetchval(
        "select detail::text from florin.queue_audit where verb = 'discard' and subject = $1",
        str(job),
    )
    assert json.loads(detail)["error"] == "it is broken"


async def test_pause_and_resume(hand: Hand, owner: Any, tmp_path: Path) -> None:
    paused = "select array_agg(name) from florin.queue where paused"
    assert await hand.says("pause", "bulk") == "Paused: bulk.\n"
    assert await owner.fetchval(paused) == ["bulk"]
    assert "bulk (paused)" in await hand.says("list")
    with pytest.raises(OperatorError, match="There is no queue bulc"):
        await hand.says("pause", "bulc")
    assert await hand.says("resume", "bulk") == "Resumed: bulk.\n"
    assert await owner.fetchval(paused) is None
    shown = [(each.what, each.outcome) for each in read_operations(Home(tmp_path))]
    assert shown == [("queue pause bulk", "done"), ("queue resume bulk", "done")]
    acts = await owner.fetch(
        "select verb, subject from florin.queue_audit where verb in ('pause', 'resume') order by id"
    )
    assert [tuple(act) for act in acts] == [("pause", "bulk"), ("resume", "bulk")]


async def test_what_is_typed_wrongly_says_how(hand: Hand) -> None:
    for words in (("list", "bulk"), ("retry",), ("pause",), ("failed", "1")):
        with pytest.raises(OperatorError, match=f"Use: florin queue {words[0]}"):
            await hand.says(*words)


async def test_as_a_process(urls: Urls) -> None:
    """Exit codes, and one sentence when there is no database."""
    for url, code in ((urls.app, 0), ("postgresql://unknown@127.0.0.1:1/none", 1)):
        said = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-P", "-m", "florin", "queue", "--json"],
            env=os.environ | {"DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert said.returncode == code, said.stderr
        assert "Traceback" not in said.stderr
        if code == 0:
            assert {"queues", "workers"} == set(json.loads(said.stdout))
        else:
            assert said.stdout == ""
            assert "The database cannot be reached" in said.stderr
