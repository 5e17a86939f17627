"""OS user: the unprivileged users that processes run as when florin is started by root."""

import contextlib
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from florin.ops.system.console import OperatorError, say
from florin.ops.system.public_files import open_directory, public_folder


@dataclass(frozen=True, slots=True)
class OsAccount:
    """The user a process runs as."""

    name: str
    uid: int
    gid: int

    def options(self) -> dict[str, Any]:
        """Return the arguments with which subprocess switches to this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


_OURS = "florin"
APPLICATION, BALANCER = "florin-app", "florin-balancer"
_UNNAMED = range(61184, 65520)  # user ids for services without an entry in the user database
_OTHERS = ("postgres", "nobody")
_FOLDERS = ("postgres", "valkey")


def choose_account(data: Sequence[Path]) -> OsAccount | None:
    """Return the account for the engines; None when florin does not run as root.

    The owner of existing data is kept, even if another account would be chosen now.
    """
    if os.geteuid() != 0:
        return None
    for path in data:
        if path.exists() and path.stat().st_uid != 0:
            return _of(path.stat().st_uid)
    for name in (_OURS, *_OTHERS):
        found = _named(name) or (_create(name) if name == _OURS else None)
        if found is not None:
            return found
    raise OperatorError(
        "PostgreSQL does not run as root, and no other user could be created. Run florin as an"
        " ordinary user, or create one: useradd --system florin."
    )


def process_account(name: str) -> OsAccount | None:
    """Return the account of one kind of process; None when florin does not run as root.

    If no user can be created it is a user id without a user: such a process owns no file.
    """
    if os.geteuid() != 0:
        return None
    found = _named(name) or _create(name)
    if found is not None:
        return found
    first = int(sha256(name.encode()).hexdigest(), 16) % len(_UNNAMED)
    taken = {entry.pw_uid for entry in pwd.getpwall()} | {each.gr_gid for each in grp.getgrall()}
    free = (_UNNAMED[(first + n) % len(_UNNAMED)] for n in range(len(_UNNAMED)))
    number = next(number for number in free if number not in taken)
    return OsAccount(str(number), number, number)


def prepare_account(home: Path, remembered: str | None) -> tuple[Path, OsAccount | None]:
    """Return the directory for the engines' data and the account they run as."""
    known = [Path(remembered)] if remembered else []
    user = choose_account([folder / name for folder in (*known, home) for name in _FOLDERS])
    if user is not None and remembered is None:
        say(f"The engines run as the user {user.name}, not as root.")
    return choose_data_dir(home, remembered, user), user


def run_as(
    account: OsAccount | None,
    argv: Sequence[str],
    *,
    within_s: float = 120,
    more: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command as the account, in the root directory, which every user may enter."""
    options = {} if account is None else account.options()
    try:
        ended = subprocess.run(
            list(argv),
            cwd="/",
            env={"PATH": os.defpath, "HOME": "/", "LC_ALL": "C", "TZ": "UTC"} | dict(more or {}),
            input=stdin or b"",
            start_new_session=True,  # a Ctrl-C for florin does not interrupt it
            capture_output=True,
            check=False,
            timeout=within_s,
            **options,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(list(argv), 127, "", str(error))
    out, err = (text.decode(errors="replace") for text in (ended.stdout, ended.stderr))
    return subprocess.CompletedProcess(list(argv), ended.returncode, out, err)


def error_in(output: str) -> str:
    """Return the first line of a program's output that names an error, else the last line.

    The first is the cause: "No space left on device" comes before "background process terminated".
    """
    lines = [line for line in output.strip().splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line.lower() or "fatal:" in line.lower()]
    return errors[0] if errors else (lines or ["no reason given"])[-1]


def choose_data_dir(home: Path, remembered: str | None, account: OsAccount | None) -> Path:
    """Return the directory for the engines' data: the home, or one the account can reach.

    Access is tested by trying: file modes alone do not show what the system allows.
    """
    if remembered is not None and Path(remembered).is_dir():
        return Path(remembered)
    if account is None or can_reach_folder(account, home):
        return home
    chosen = public_folder(home)
    say(f"The engines' user {account.name} cannot enter {home}; their data is stored in {chosen}.")
    open_directory(chosen)
    return chosen


def can_reach_folder(account: OsAccount, folder: Path) -> bool:
    """Return whether the account may enter a directory."""
    return run_as(account, ["sh", "-c", 'cd -- "$0"', str(folder)]).returncode == 0


def make_private_dir(folder: Path, account: OsAccount | None) -> Path:
    """Create a directory that only the account may use."""
    if account is not None and _inside(folder.parent, account):
        # The account may put a symlink there at any moment, so root must not do it.
        script = 'umask 077; mkdir -p -- "$0"'
        said = run_as(account, ["sh", "-c", script, str(folder)]).stderr.strip()
        if said:
            raise OperatorError(f"{folder} could not be created: {said}.")
        return folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None:
            _give(folder, account)
    except OSError as error:
        raise OperatorError(f"{folder} could not be created: {error.strerror}.") from None
    return folder


def _inside(folder: Path, account: OsAccount) -> bool:
    """Return whether a directory in the path belongs to the account."""
    for path in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if path.lstat().st_uid == account.uid:
                return True
    return False


def _give(folder: Path, account: OsAccount) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(handle).st_uid != account.uid:
            os.fchown(handle, account.uid, account.gid)
    finally:
        os.close(handle)


def give_ownership(folder: Path, account: OsAccount | None) -> None:
    """Change the owner of a directory and everything in it.

    No other user may have access until then; the directory itself is changed last.
    """
    if account is None:
        return
    for path in (*folder.rglob("*"), folder):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _named(name: str) -> OsAccount | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return OsAccount(entry.pw_name, entry.pw_uid, entry.pw_gid) if entry.pw_uid else None


def _of(uid: int) -> OsAccount:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return OsAccount(str(uid), uid, uid)
    return OsAccount(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create(name: str) -> OsAccount | None:
    useradd = shutil.which("useradd", path=f"{os.defpath}:/usr/sbin:/sbin")
    if useradd is None:
        return None
    arguments = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    subprocess.run(
        [useradd, *arguments, "--shell", "/usr/sbin/nologin", name],
        capture_output=True,
        check=False,
    )
    return _named(name)
