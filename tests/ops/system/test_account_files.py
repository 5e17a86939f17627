"""Account files: in directories of another account, root changes nothing outside them."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from florin.ops.fleet.home import Home, write_file
from florin.ops.system import account_files, os_user
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import OsAccount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another account")
ACCOUNT = OsAccount("60111", 60111, 60111)
SECRET = b"root's own\n"


@pytest.fixture
def places() -> Iterator[tuple[Path, Path]]:
    """A directory of the account, and a file of root outside it."""
    root = Path(mkdtemp())
    root.chmod(0o711)
    outside = root / "outside"
    outside.mkdir(mode=0o700)
    (outside / "secret").write_bytes(SECRET)
    yield os_user.make_private_dir(root / "theirs", ACCOUNT), outside
    rmtree(root)


def plant(link: Path, target: Path) -> None:
    link.symlink_to(target)
    os.chown(link, ACCOUNT.uid, ACCOUNT.gid, follow_symlinks=False)


def untouched(outside: Path) -> bool:
    """Check that the directory and the file of root are unchanged."""
    file = outside / "secret"
    return (
        [each.name for each in outside.iterdir()] == ["secret"]
        and file.read_bytes() == SECRET
        and {each.lstat().st_uid for each in (outside, file)} == {0}
    )


ACTS: dict[str, Callable[[Path], object]] = {
    "write": lambda link: account_files.write_account_file(link / "new", b"x", ACCOUNT),
    "write over": lambda link: account_files.write_account_file(link, b"x", ACCOUNT),
    "make a private folder": lambda link: os_user.make_private_dir(
        link / "new" / "deeper", ACCOUNT
    ),
    "move in": lambda link: account_files.move_account_file(
        link.with_name("plain"), link / "new", ACCOUNT
    ),
    "move out": lambda link: account_files.move_account_file(
        link / "secret", link.with_name("x"), ACCOUNT
    ),
    "copy in": lambda link: account_files.copy_account_files(
        link.with_name("plain"), link / "new", ACCOUNT
    ),
    "copy out": lambda link: account_files.copy_account_files(
        link / "secret", link.with_name("x"), ACCOUNT
    ),
    "remove": lambda link: account_files.remove_account_files(link / "secret", ACCOUNT),
    "read": lambda link: account_files.read_account_file(link / "secret", ACCOUNT),
    "read a link": lambda link: account_files.read_account_file(link, ACCOUNT),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("to", ["folder", "file"])
def test_a_symlink_is_not_followed(places: tuple[Path, Path], act: str, to: str) -> None:
    theirs, outside = places
    account_files.write_account_file(theirs / "plain", b"plain", ACCOUNT)
    link = theirs / "link"
    plant(link, outside if to == "folder" else outside / "secret")
    found: object = None
    with contextlib.suppress(OperatorError, OSError):
        found = ACTS[act](link)
    assert untouched(outside)
    assert found is None or b"root" not in str(found).encode()
    assert not (theirs / "x").exists()


def test_written_files_belong_to_the_account_only(places: tuple[Path, Path]) -> None:
    path = places[0] / "settings"
    account_files.write_account_file(path, b"first", ACCOUNT)
    account_files.write_account_file(path, b"second", ACCOUNT)
    assert account_files.read_account_file(path, ACCOUNT) == "second"
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (60111, 60111, 0o600)
    assert [each.name for each in path.parent.iterdir()] == ["settings"]


def test_a_pipe_in_place_of_a_file_does_not_block(places: tuple[Path, Path]) -> None:
    pipe = places[0] / "PG_VERSION"
    os.mkfifo(pipe)
    os.chown(pipe, ACCOUNT.uid, ACCOUNT.gid)
    with pytest.raises(PermissionError):
        account_files.read_account_file(pipe, ACCOUNT)


def test_a_file_of_another_user_is_not_read(places: tuple[Path, Path]) -> None:
    path = places[0] / "file"
    path.write_bytes(SECRET)
    with pytest.raises(PermissionError):
        account_files.read_account_file(path, ACCOUNT)


def test_an_existing_name_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def guessed(_: int) -> str:
        return "guessed"

    monkeypatch.setattr("florin.ops.fleet.home.secrets.token_hex", guessed)
    target = tmp_path / "elsewhere"
    target.write_bytes(SECRET)
    (tmp_path / ".fleet.json.guessed").symlink_to(target)
    with pytest.raises(OperatorError):
        write_file(tmp_path / "fleet.json", b"{}")
    assert target.read_bytes() == SECRET


@pytest.mark.parametrize("folder", ["", "run", "logs"])
def test_root_refuses_a_home_that_another_user_can_change(tmp_path: Path, folder: str) -> None:
    home = Home(tmp_path / "home")
    home.make()
    home.require_own()
    found = home.path / folder
    os.chown(found, ACCOUNT.uid, ACCOUNT.gid)
    for act in (home.make, home.lock):
        with pytest.raises(OperatorError, match="belongs to the user 60111"):
            act()
    os.chown(found, 0, 0)
    found.chmod(0o777)
    with pytest.raises(OperatorError, match="chmod go-w"):
        home.make()
