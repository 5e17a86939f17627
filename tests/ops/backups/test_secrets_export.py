"""The export of the secrets: what it holds, what it refuses, and when the doctor warns."""

from pathlib import Path

import pytest

from florin.ops.backups import secrets_export
from florin.ops.backups.encryption import key_of
from florin.ops.backups.secrets_export import export_secrets, import_secrets, last_export
from florin.ops.diagnostics.secrets_check import check_exported_secrets
from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home
from florin.ops.fleet.options import UpOptions
from florin.ops.system.console import OperatorError
from tests.support.s3_storage import backup_key


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.path.mkdir()
    secrets.ensure_secrets(made)
    return made


def nothing(_name: str) -> None:
    return None


def test_what_was_exported_is_imported_elsewhere(home: Home, tmp_path: Path) -> None:
    names = export_secrets(home, nothing, tmp_path / "kept", None)
    assert set(names) == {*secrets.APPLICATION, *secrets.ENGINES}
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    other = Home(tmp_path / "other")
    import_secrets(other, tmp_path / "kept", None)
    assert secrets.read_secrets(other) == secrets.read_secrets(home)
    assert other.secrets.stat().st_mode & 0o077 == 0


def test_secrets_of_the_environment_come_first(home: Home, tmp_path: Path) -> None:
    given = {"FLORIN_CODE_PEPPER": "of the environment", "FLORIN_CODE_PEPPER_PREVIOUS": "older"}
    export_secrets(home, given.get, tmp_path / "kept", None)
    held = secrets_export.read_export(tmp_path / "kept", None).secrets
    assert {name: held[name] for name in given} == given


def test_with_a_key_it_is_encrypted_and_needs_that_key(home: Home, tmp_path: Path) -> None:
    key, other = (key_of({"BACKUP_KEY": backup_key()}.get) for _ in range(2))
    export_secrets(home, nothing, tmp_path / "kept", key)
    pepper = secrets.read_secrets(home)["FLORIN_CODE_PEPPER"]
    assert pepper.encode() not in (tmp_path / "kept").read_bytes()
    into = Home(tmp_path / "other")
    with pytest.raises(OperatorError, match="is encrypted; give the BACKUP_KEY"):
        import_secrets(into, tmp_path / "kept", None)
    with pytest.raises(OperatorError, match="another key than the one in BACKUP_KEY"):
        import_secrets(into, tmp_path / "kept", other)
    assert not into.secrets.exists()
    import_secrets(into, tmp_path / "kept", key)
    assert secrets.read_secrets(into)["FLORIN_CODE_PEPPER"] == pepper


def test_nothing_is_overwritten(home: Home, tmp_path: Path) -> None:
    export_secrets(home, nothing, tmp_path / "kept", None)
    with pytest.raises(OperatorError, match="exists; give the name of a new file"):
        export_secrets(home, nothing, tmp_path / "kept", None)
    other = Home(tmp_path / "other")
    other.path.mkdir()
    before = secrets.ensure_secrets(other)
    with pytest.raises(OperatorError, match="has other secrets"):
        import_secrets(other, tmp_path / "kept", None)
    assert secrets.read_secrets(other) == before
    import_secrets(home, tmp_path / "kept", None)  # the same ones: nothing to refuse


@pytest.mark.parametrize("content", [b"", b"{}", b'{"kind":"x","at":1,"secrets":{}}'])
def test_another_file_is_refused(home: Home, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept").write_bytes(content)
    with pytest.raises(OperatorError, match="was not written by florin backup --secrets"):
        import_secrets(home, tmp_path / "kept", None)


def test_the_doctor_warns_until_it_was_done_and_after_a_change(home: Home, tmp_path: Path) -> None:
    options = UpOptions(home=home, environ={})
    [never] = check_exported_secrets(options)
    assert (never.result, "never exported" in never.message) == ("warn", True)
    export_secrets(home, options.given, tmp_path / "kept", None)
    [done] = check_exported_secrets(options)
    assert done.result == "ok"
    changed = UpOptions(home=home, environ={"FLORIN_CODE_PEPPER": "another"})
    [after] = check_exported_secrets(changed)
    assert (after.result, "changed since" in after.message) == ("warn", True)
    assert last_export(home, options.given)[1] is True


def test_without_secrets_there_is_no_finding(tmp_path: Path) -> None:
    assert check_exported_secrets(UpOptions(home=Home(tmp_path), environ={})) == []
    with pytest.raises(OperatorError, match="nothing to export"):
        export_secrets(Home(tmp_path), nothing, tmp_path / "kept", None)
