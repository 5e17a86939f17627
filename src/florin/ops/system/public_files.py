"""Public files: files of root that all users may read, in directories that only root changes."""

import os
import pwd
import shutil
import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from florin.ops.system.console import OperatorError

OUTSIDE = Path("/var/lib/florin")


def public_folder(home: Path) -> Path:
    """Return the directory for files of a home that other accounts must reach."""
    return OUTSIDE / "homes" / sha256(str(home).encode()).hexdigest()[:12]


def copy_public_trees(trees: Sequence[Path], root: Path, key: str) -> Path:
    """Copy the trees to a public directory, with their paths relative to `root`."""
    target = OUTSIDE / "engines" / key
    if target.is_dir():
        return target
    open_directory(target.parent)
    partial = target.with_name(f".{key}.{os.getpid()}")
    try:
        for tree in trees:
            if tree.is_dir():
                shutil.copytree(tree, partial / tree.relative_to(root), symlinks=True)
            else:
                (partial / tree.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(tree, partial / tree.relative_to(root))
        make_public(partial)
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.is_dir():  # another process may have been faster
            raise OperatorError(
                f"The engines could not be copied to {target}: {error.strerror}."
            ) from None
    return target


def make_public(tree: Path) -> None:
    """Make a tree readable for every user, and writable only for its owner."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def require_own(folder: Path) -> None:
    """Refuse, as root, a directory that another user could change. Raises OperatorError."""
    if os.geteuid() != 0:
        return
    try:
        found = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OperatorError(f"{folder} cannot be used: {error.strerror}.") from None
    if found.st_uid != 0:
        name = _user(found.st_uid)
        raise OperatorError(
            f"{folder} belongs to the user {name}, and root writes only into its own directories."
            f" Run this command as {name}, or choose another directory with --home DIR (or"
            " FLORIN_HOME)."
        )
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0):
        raise OperatorError(
            f"{folder} can be changed by other users than root. Run chmod go-w {folder}, or choose"
            " another directory with --home DIR (or FLORIN_HOME)."
        )


def open_directory(path: Path) -> None:
    """Create a directory of root outside every home that every user may enter."""
    try:
        for folder in (OUTSIDE, OUTSIDE / path.relative_to(OUTSIDE).parts[0], path):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            require_own(folder)
    except OSError as error:
        raise OperatorError(f"{path} could not be created: {error.strerror}.") from None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
