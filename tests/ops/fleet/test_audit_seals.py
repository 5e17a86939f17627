"""Audit seals: what is changed in the fleet's audit log is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from florin.ops.fleet import audit_log, audit_seals
from florin.ops.fleet.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.make()
    for n in range(6):
        audit_log.append_operation(made, "alice", f"florin scale api={n}", "done")
        if n in (2, 5):
            audit_seals.seal_operations(made)
    return made


def lines(home: Home) -> list[bytes]:
    return audit_log.audit_file(home).read_bytes().splitlines(keepends=True)


def test_an_untouched_log_is_intact(home: Home) -> None:
    assert audit_seals.verify_operations(home).findings == []
    assert audit_seals.seal_operations(home) == 0
    audit_log.append_operation(home, "bob", "florin down", "done")
    found = audit_seals.verify_operations(home)
    assert (found.lines, found.unsealed, found.findings) == (7, 1, [])
    assert audit_seals.seal_operations(home) == 1
    assert audit_seals.verify_operations(home).unsealed == 0


CHANGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[str]]] = {
    "changed": (
        lambda x: [*x[:2], x[2].replace(b"alice", b"mallo"), *x[3:]],
        ["line 3 was changed"],
    ),
    "removed": (lambda x: [*x[:2], *x[3:]], ["line 3 was removed"]),
    "the last removed": (lambda x: x[:-1], ["line 6 was removed"]),
    "reordered": (lambda x: [*x[:2], x[3], x[2], *x[4:]], ["line 3 was moved"]),
    "inserted": (lambda x: [*x[:2], b"{}\n", *x[2:]], ["line 3 was inserted"]),
    "emptied": (lambda _: [], [f"line {n} was removed" for n in range(1, 7)]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found(home: Home, change: str) -> None:
    make, findings = CHANGES[change]
    audit_log.audit_file(home).write_bytes(b"".join(make(lines(home))))
    assert audit_seals.verify_operations(home).findings == findings
    # Sealing goes on after what it had sealed: it does not cover it up.
    audit_seals.seal_operations(home)
    assert set(findings) <= set(audit_seals.verify_operations(home).findings)


def test_a_changed_seal_is_found(home: Home) -> None:
    seals = home.path / "audit.seals"
    text = seals.read_bytes().splitlines(keepends=True)
    seals.write_bytes(b"".join([text[1], text[0], *text[2:]]))
    found = audit_seals.verify_operations(home).findings
    assert "seal 1 does not follow from the one before it" in found


def test_a_seal_cut_off_by_a_power_cut_is_written_again(home: Home) -> None:
    seals = home.path / "audit.seals"
    whole = seals.read_bytes()
    seals.write_bytes(whole[:-20])
    assert audit_seals.seal_operations(home) == 1
    assert audit_seals.verify_operations(home).findings == []
