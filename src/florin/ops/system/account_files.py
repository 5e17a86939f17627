"""Account files: root's file operations in a directory of another account.

The owner of a directory can replace its contents by a symlink at any moment, and root would follow
it to any file of the system. So files are written, moved and removed as the account: the kernel
then allows only what the account may do itself. A file that is read must be a regular file of the
account.
"""

import errno
import os
import shutil
import stat
from io import BufferedReader
from pathlib import Path

from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import OsAccount, run_as

_COPY_WITHIN_S = 24 * 3600
_REMOVE_WITHIN_S = 3600
# Synced before the rename: a reader sees the old or the new content, also after a power cut.
_WRITE = """
umask 077
new="$1.new.$$"
rm -f -- "$new" && cat >"$new" && sync "$new" && mv -f -- "$new" "$1"
"""
_MOVE = 'test ! -e "$2" && mv -- "$1" "$2"'


def write_account_file(path: Path, content: bytes, account: OsAccount | None) -> None:
    """Replace a file atomically; only the account may read it. Raises OperatorError."""
    _run(account, _WRITE, path, failure=f"{path} could not be written", stdin=content)


def move_account_file(source: Path, target: Path, account: OsAccount | None) -> None:
    """Rename within one directory; the target must not exist. Raises OperatorError."""
    _run(account, _MOVE, source, target, failure=f"{source} could not be renamed to {target.name}")


def copy_account_files(source: Path, target: Path, account: OsAccount | None) -> None:
    """Copy a directory recursively, symlinks as symlinks. Raises OperatorError."""
    said = f"{source} could not be copied to {target}"
    _run(account, 'cp -a -- "$1" "$2"', source, target, failure=said)


def remove_account_files(path: Path, account: OsAccount | None) -> None:
    """Remove a file or a directory recursively; ignores errors."""
    if account is None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return
    run_as(account, ["rm", "-rf", "--", str(path)], within_s=_REMOVE_WITHIN_S)


def open_account_file(path: Path, account: OsAccount | None) -> BufferedReader:
    """Open a regular file of the account for reading: no symlink, no pipe that would block.

    Raises OSError. If a parent directory is a symlink, the file still belongs to the account.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or (account is not None and found.st_uid != account.uid):
        os.close(handle)
        whose = "" if account is None else f" of the user {account.name}"
        raise PermissionError(errno.EPERM, f"is not a regular file{whose}", str(path))
    return os.fdopen(handle, "rb")


def read_account_file(path: Path, account: OsAccount | None) -> str:
    """Return the text of a regular file of the account. Raises OSError, ValueError."""
    with open_account_file(path, account) as file:
        return file.read().decode("utf-8")


def _run(
    account: OsAccount | None, script: str, *paths: Path, failure: str, stdin: bytes | None = None
) -> None:
    words = ["sh", "-c", script, "florin", *map(str, paths)]
    ended = run_as(account, words, within_s=_COPY_WITHIN_S, stdin=stdin)
    if ended.returncode != 0:
        reason = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OperatorError(f"{failure}: {reason}.")
