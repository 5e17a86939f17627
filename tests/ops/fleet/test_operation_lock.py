"""Operation lock, audit log, stored releases and certificate renewal during changes of a fleet."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florin.ops.fleet import audit_log, operation_lock
from florin.ops.fleet.home import Home
from florin.ops.fleet.operation_lock import Operation
from florin.ops.haproxy.certificate_renewal import CertificateRenewal
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.releases import store
from florin.ops.system import processes
from florin.ops.system.console import OperatorError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.make()
    return made


def operation_of(who: str) -> Operation:
    return Operation(who=who, what="florin deploy", goal={"api-1": ReleaseMark("r2", 2)})


def test_the_lock_names_its_holder_and_is_released_by_a_dead_one(home: Home) -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = processes.find_process(child.pid)
    assert process is not None
    operation_lock.save_operation(
        home, replace(operation_of("alice"), pid=process.pid, started=process.started)
    )
    try:
        with pytest.raises(OperatorError, match=r"fleet: alice \(florin deploy, since"):
            operation_lock.take_lock(home, operation_of("bob"))
    finally:
        child.kill()
        child.wait()
    taken = operation_lock.take_lock(home, operation_of("bob"))
    assert operation_lock.load_operation(home) == taken
    assert taken.pid == os.getpid()
    operation_lock.release_lock(home)
    assert operation_lock.load_operation(home) is None


def test_the_audit_log_is_append_only_and_survives_a_partial_line(home: Home) -> None:
    audit_log.append_operation(home, "alice", "florin scale api=3", "begun")
    audit_log.append_operation(
        home, "alice", "florin scale api=3", "done", message="3 instances serve", begun=0.0
    )
    path = home.path / "audit.jsonl"
    before = path.read_bytes()
    path.write_bytes(before + b'{"at": "2030')
    audit_log.append_operation(home, "bob", "florin rollback", "begun")
    assert path.read_bytes().startswith(before)
    assert [entry.who for entry in audit_log.read_operations(home)] == ["alice", "alice", "bob"]
    assert audit_log.read_operations(home, 1)[0].who == "bob"
    assert "florin scale api=3" in audit_log.format_operations(audit_log.read_operations(home))
    assert path.stat().st_mode & 0o077 == 0


def test_the_operator_is_a_variable_or_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit_log.operator_name({"FLORIN_OPERATOR": "alice", "SUDO_USER": "bob"}) == "alice"
    assert audit_log.operator_name({"SUDO_USER": "bob"}) == "bob"
    monkeypatch.setenv("LOGNAME", "carol")
    assert audit_log.operator_name({}) == "carol"


def checkout(tmp_path: Path, word: str) -> Path:
    root = tmp_path / "checkout"
    package = root / "src" / "florin"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(f'__version__ = "1"\nword = "{word}"\n', "utf-8")
    (root / "requirements").mkdir(exist_ok=True)
    (root / "requirements" / "core.txt").write_text("one\n", "utf-8")
    return root


def runs(home: Home, name: str) -> str:
    command = [sys.executable, "-P", "-c", "import florin; print(florin.word)"]
    environ = store.release_environ(home, name)
    assert environ["FLORIN_RELEASE"] == name
    return subprocess.check_output(command, env=environ, text=True).strip()


def test_a_stored_release_stays_unchanged(home: Home, tmp_path: Path) -> None:
    root = checkout(tmp_path, "first")
    first = store.store_release(home, None, root)
    checkout(tmp_path, "second")
    second = store.store_release(home, str(root), None)
    assert first != second
    assert [runs(home, first), runs(home, second)] == ["first", "second"]
    assert store.store_release(home, first, None) == first
    (root / "requirements" / "core.txt").write_text("two\n", "utf-8")
    assert store.has_other_lock(home, first, root)


def test_a_commit_is_stored_without_uncommitted_changes(home: Home, tmp_path: Path) -> None:
    root = checkout(tmp_path, "committed")
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    checkout(tmp_path, "changed")
    commit, dirty = store.store_release(home, "HEAD", root), store.store_release(home, None, root)
    assert [runs(home, commit), runs(home, dirty)] == ["committed", "changed"]
    assert dirty.startswith(f"{commit}+")
    with pytest.raises(OperatorError, match="neither a commit"):
        store.store_release(home, "no-such-ref", root)


def test_a_running_release_is_never_removed(home: Home, tmp_path: Path) -> None:
    names = [store.store_release(home, None, checkout(tmp_path, f"word {n}")) for n in range(9)]
    for age, name in enumerate(reversed(names)):
        os.utime(store.release_path(home, name), (1000 - age, 1000 - age))
    store.prune_releases(home, {names[0], names[1]})
    kept = {path.name for path in (home.path / "releases").iterdir()}
    assert {names[0], names[1], names[8]} <= kept
    assert len(kept) < len(names)


async def test_a_certificate_renewed_on_disk_is_used(tmp_path: Path) -> None:
    used: list[str] = []

    class Recorder:
        async def replace_certificate(self, cert: Path, key: Path) -> None:
            if got(cert) != got(key):
                raise OperatorError("they do not fit")
            used.append(got(cert))

    pair = (tmp_path / "c.pem", tmp_path / "k.pem")
    recorder: Any = Recorder()
    for path in pair:
        put(path, "one")
    renewal = CertificateRenewal(recorder, pair)
    await renewal.reload_if_changed()
    assert used == []
    for path in pair:  # one after the other: the intermediate state is reported once
        put(path, "two")
        await renewal.reload_if_changed()
    assert used == ["two"]
    await renewal.reload_if_changed()
    assert used == ["two"]


def put(path: Path, content: str) -> None:
    path.with_suffix(".new").write_text(content, "ascii")
    path.with_suffix(".new").replace(path)


def got(path: Path) -> str:
    return path.read_text("ascii")
