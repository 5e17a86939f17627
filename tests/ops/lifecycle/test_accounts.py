"""Root's `up`: what it touches of what the accounts of the engines own."""

import os
from pathlib import Path

import pytest

from tests.ops.conftest import TestFleet

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands parts to other users")


def recorded(fleet: TestFleet, log: Path) -> dict[str, set[Path]]:
    """What the supervisor changed itself and what it named to a child, in the accounts' folders."""
    found: dict[str, set[Path]] = {"changed": set(), "named": set()}
    owned = [path for path in fleet.home.path.iterdir() if path.stat().st_uid != 0]
    assert {path.name for path in owned} == {"postgres", "valkey"}
    for line in log.read_text().splitlines():
        how, _, word = line.partition(" ")
        path = Path(word)
        if any(folder in path.parents for folder in owned):
            found[how].add(path)
    return found


def test_root_follows_no_symlink_of_the_engines_account(fleet: TestFleet, tmp_path: Path) -> None:
    """Symlinks at every name that root writes, renames or removes: nothing outside is touched."""
    log = tmp_path / "paths"
    fleet.environ["STANDIN_PATHS"] = str(log)
    fleet.end(fleet.up())
    found = recorded(fleet, log)
    assert not found["changed"]  # by root itself; what a child did, it did as the account
    names = {path.name for path in found["named"]}
    assert {"florin.conf", "valkey.conf", "password.new", "data.new", "postgresql.conf"} <= names

    outside = tmp_path / "outside"
    outside.mkdir()
    planted: dict[Path, Path] = {}
    account = (fleet.home.path / "postgres").stat()
    # `data` itself has to stay for a database to start; data.new is where one was made.
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
