"""Previous release: its tests run on the schema of this code, as a deploy makes it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from florin.kit.postgres.database import open_connection
from florin.kit.postgres.sql_release import PACKAGED
from tests.support import next_schema, postgres_server, previous_release
from tests.support.next_schema import SCHEMA_FROM
from tests.support.postgres_server import Server
from tests.support.previous_release import PreviousReleaseUnknown

ROOT = Path(__file__).parents[1]
SCRIPT = f"""#!/bin/sh
printf '%s\\n' "$* $(cat code) on ${SCHEMA_FROM}" >"$REPORT"
test -f next_schema.py && exit 3
"""


def git(repository: Path, *words: str) -> str:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    said = subprocess.run(
        ["git", *who, "-C", str(repository), *words], capture_output=True, text=True, check=True
    )
    return said.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A stand-in: a release whose tests write what they see, and later code that names it."""
    made = tmp_path / "repository"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "test").write_text(SCRIPT, "utf-8")
    (made / "bin" / "test").chmod(0o755)
    (made / "code").write_text("released code", "utf-8")
    git(made, "init", "-q", "-b", "main")
    git(made, "add", ".")
    git(made, "commit", "-q", "-m", "Release")
    name_release(made, git(made, "rev-parse", "HEAD"))
    (made / "code").write_text("new code", "utf-8")
    return made


def name_release(repository: Path, commit: str) -> None:
    closed = f"## 0.3.0, unreleased\n\n## 0.2.0, 2026-12-30, commit {commit}\n"
    (repository / "CHANGELOG.md").write_text(closed, "utf-8")


def test_the_code_of_that_commit_is_tested_and_its_result_counts(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    monkeypatch.setenv("REPORT", str(report))
    assert previous_release.run_previous_tests(repository, ["some"]) == 3
    arguments = "some -p next_schema -m not schema"
    assert report.read_text("utf-8") == f"{arguments} released code on {repository}\n"


def test_before_the_first_release_there_is_nothing_to_run(repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text("## 0.1.0, unreleased\n", "utf-8")
    assert previous_release.run_previous_tests(repository, []) == 0


def test_a_commit_that_is_not_there_is_an_error(repository: Path) -> None:
    name_release(repository, "0" * 40)
    with pytest.raises(PreviousReleaseUnknown, match="fetch the whole history"):
        previous_release.run_previous_tests(repository, [])


@pytest.mark.slow
async def test_tests_get_the_schema_of_another_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is upgraded while this release runs: what is removed after it stays for its tests."""
    shutil.copytree(ROOT / "src", tmp_path / "src")
    migrations = tmp_path / "src" / "florin" / "migrations"
    number = PACKAGED.schema_number
    (migrations / f"{number + 1:04}_expand_extra.sql").write_text(
        "create table extra (id integer);", "utf-8"
    )
    (migrations / f"{number + 2:04}_contract_quota.sql").write_text(
        f"-- after {number + 1:04}\ndrop table quota_use cascade;", "utf-8"
    )
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "florin"
    command.write_text(
        f'#!/bin/sh\nexport PYTHONPATH={tmp_path}/src\nexec {sys.executable} -P -m florin "$@"\n',
        "utf-8",
    )
    command.chmod(0o755)
    monkeypatch.setenv(SCHEMA_FROM, str(tmp_path))
    with postgres_server.server(postgres_server.program()) as server:
        await postgres_server.make_template(server)
        await next_schema.upgrade(server)
        assert await names(server, "extra", "quota_use", "card") == ["card", "extra", "quota_use"]


async def names(server: Server, *wanted: str) -> list[str]:
    owner = await open_connection(server.url("florin_owner", "florin_template"), name="tests")
    try:
        rows = await owner.fetch(
            "select tablename from pg_tables where schemaname = 'florin'"
            " and tablename = any($1) order by 1",
            list(wanted),
        )
    finally:
        await owner.close()
    return [row["tablename"] for row in rows]
