"""Wanted workers: the number that the operator process serves where a cluster starts workers."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.kit.queue.enqueue import NewJob, enqueue_now
from tests.conftest import Urls
from tests.support.ports import free_port
from tests.support.waiting import until

SRC = Path(__file__).parents[3] / "src"


@contextmanager
def operator(folder: Path, **environ: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run `florin operator` as in a container: without a supervisor and without its facts."""
    port = free_port()
    given = {"PATH": os.environ["PATH"], "FLORIN_FACTS": str(folder / "facts.json")}
    given |= {"FLORIN_OPERATIONS_PORT": str(port), "PYTHONPATH": str(SRC), **environ}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "florin", "operator"],
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def metrics(base: str) -> str:
    return httpx.get(f"{base}/metrics", timeout=5).text


def asked(base: str) -> httpx.Response | None:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{base}/workers", timeout=5)
    return None


def wanted(base: str) -> Any:
    answer = asked(base)
    return answer.json().get("wanted") if answer is not None else None


async def test_it_serves_the_decision_and_more_when_jobs_wait(
    urls: Urls, owner: Any, tmp_path: Path
) -> None:
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")
    with operator(tmp_path, DATABASE_URL=urls.app, FLORIN_WORKERS_MAX="7") as (process, base):
        await until(lambda: wanted(base) == 1, within_s=60)
        jobs = [NewJob(queue="retention", kind="queue") for _ in range(20_000)]
        await enqueue_now(owner, *jobs)
        await until(lambda: wanted(base) == 7, within_s=60)
        text = metrics(base)
        assert "\nflorin_workers_wanted 7\n" in text
        assert "\nflorin_workers_limit 7\n" in text
        assert process.poll() is None
    await owner.execute("delete from florin.queue_job")


async def test_it_answers_503_and_never_a_number_without_the_database(tmp_path: Path) -> None:
    url = f"postgresql://florin@127.0.0.1:{free_port()}/florin"
    with operator(tmp_path, DATABASE_URL=url, FLORIN_WORKERS_MAX="7") as (_, base):
        await until(lambda: asked(base) is not None, within_s=60)
        read = "\nflorin_scaling_errors_total 0\n"
        while True:  # up to the first reading that failed, and after it
            failed = read not in metrics(base)
            answer = asked(base)
            assert answer is not None
            assert answer.status_code == 503
            assert "wanted" not in answer.text
            if failed:
                break
        assert "\nflorin_workers_wanted " not in metrics(base)


async def test_without_the_setting_there_is_no_number(tmp_path: Path) -> None:
    with operator(tmp_path) as (_, base):
        await until(lambda: asked(base) is not None, within_s=60)
        answer = asked(base)
        assert answer is not None
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"FLORIN_WORKERS_MAX": "0"}, "FLORIN_WORKERS_MAX: must be a whole number from 1 to 1000"),
        ({"FLORIN_WORKERS_MAX": "many"}, "is many"),
        ({"FLORIN_WORKERS_MAX": "4"}, "FLORIN_WORKERS_MAX: needs DATABASE_URL"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, environ: dict[str, str], words: str) -> None:
    with operator(tmp_path, **environ) as (process, _):
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert words in said
