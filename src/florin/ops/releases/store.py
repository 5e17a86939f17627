"""Store: releases as copies in the home, so that a running fleet is independent of the checkout."""

import compileall
import contextlib
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import florin
from florin.ops.fleet.home import Home
from florin.ops.releases import version
from florin.ops.system import os_user, public_files
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import OsAccount

_KEPT = 5
_PACKAGE = Path("src") / "florin"
_LOCK = Path("requirements") / "core.txt"
_RUNBOOKS = Path("docs") / "operations" / "runbooks"  # shown by the operator process


def store_checkout(home: Home, checkout: Path | None) -> str:
    """Store the checkout's current code, else that of the installed package; return its name."""
    if checkout is None:
        root = Path(florin.__file__).parent
        return _keep(home, version.current_version(None), root, None)
    package = checkout / _PACKAGE
    if not (package / "__init__.py").is_file():
        raise OperatorError(f"{checkout} is not a checkout of Florin: it has no {_PACKAGE}.")
    return _keep(home, version.current_version(checkout), package, checkout)


def store_release(home: Home, wanted: str | None, checkout: Path | None) -> str:
    """Store the release REF|PATH: a stored one, a directory or a commit; return its name."""
    if wanted is None:
        return store_checkout(home, checkout)
    if "/" not in wanted and (release_path(home, wanted) / _PACKAGE).is_dir():
        return wanted
    if Path(wanted).is_dir():
        return store_checkout(home, Path(wanted).absolute())
    if checkout is None:
        raise OperatorError(
            f"{wanted} is neither a directory nor a release stored in {_folder(home)}."
        )
    commit = version.run_git(
        checkout, "rev-parse", "--short=10", "--verify", f"{wanted}^{{commit}}"
    )
    if commit is None:
        raise OperatorError(f"{wanted} is neither a commit of {checkout} nor a directory.")
    if not release_path(home, commit).is_dir():
        _unpack(home, checkout, commit)
    return commit


def share(home: Home, account: OsAccount | None) -> None:
    """Make the releases readable for the account, elsewhere if necessary. Raises OperatorError."""
    if account is None:
        return
    folder = _folder(home)
    try:
        _make(folder)
        folder.chmod(0o711)
        kept = [each for each in folder.iterdir() if not each.name.startswith(".")]
        if not os_user.can_reach_folder(account, folder):
            # Running processes keep the releases in the home; new ones use the copies.
            outside = public_files.public_folder(home.path) / "releases"
            public_files.open_directory(outside)
            for each in kept:
                _keep_copy(each, outside / each.name)
            home.write_layout(replace(home.layout(), releases=str(outside)))
            kept = []
        for each in kept:
            public_files.make_public(each)
    except OSError as error:
        raise OperatorError(f"{folder} cannot be used: {error.strerror}.") from None


def _keep_copy(source: Path, target: Path) -> None:
    if not target.is_dir():
        partial = _partial(target)
        shutil.copytree(source, partial, symlinks=True)
        _publish(partial, target)


def release_path(home: Home, name: str) -> Path:
    return _folder(home) / name


def release_environ(home: Home, name: str) -> dict[str, str]:
    """Return the environment variables that make a process run this release."""
    root = release_path(home, name)
    return {"PYTHONPATH": str(root / "src"), "FLORIN_RELEASE": name}


def has_other_lock(home: Home, name: str, checkout: Path | None) -> bool:
    """Return whether a release requires other packages than the checkout's environment has."""
    kept = release_path(home, name) / _LOCK
    if checkout is None or not kept.is_file():
        return False
    with contextlib.suppress(OSError):
        return kept.read_bytes() != (checkout / _LOCK).read_bytes()
    return False


def stored_releases(home: Home) -> list[str]:
    """Return the names of the releases in the home."""
    with contextlib.suppress(OSError):
        return [each.name for each in _folder(home).iterdir() if not each.name.startswith(".")]
    return []


def prune_releases(home: Home, keep: set[str]) -> None:
    """Remove old releases: all but the newest ones and those in `keep`."""
    try:
        kept = sorted(_folder(home).iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    except OSError:
        return
    for old in [each for each in kept if each.name not in keep][_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def _keep(home: Home, name: str, package: Path, checkout: Path | None) -> str:
    target = release_path(home, name)
    if target.is_dir():
        return name
    partial = _partial(target)
    try:
        leave = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(package, partial / _PACKAGE, ignore=leave)
        if checkout is not None and (checkout / _LOCK).is_file():
            (partial / _LOCK).parent.mkdir()
            shutil.copy2(checkout / _LOCK, partial / _LOCK)
        if checkout is not None and (checkout / _RUNBOOKS).is_dir():
            shutil.copytree(checkout / _RUNBOOKS, partial / _RUNBOOKS)
        _finish(partial, target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OperatorError(f"{name} could not be stored in {target}: {_why(error)}.") from None
    return name


def _unpack(home: Home, checkout: Path, commit: str) -> None:
    trust = f"safe.directory={checkout}"
    paths = ["src", "requirements"]
    if version.run_git(checkout, "rev-parse", "--verify", f"{commit}:{_RUNBOOKS}") is not None:
        paths.append(str(_RUNBOOKS))
    said = subprocess.run(
        ["git", "-c", trust, "-C", str(checkout), "archive", commit, "--", *paths],
        capture_output=True,
        check=False,
    )
    if said.returncode != 0:
        words = said.stderr.decode(errors="replace").strip().splitlines()
        raise OperatorError(f"{commit} could not be read: {(words or ['git gave no reason'])[-1]}.")
    target = release_path(home, commit)
    partial = _partial(target)
    try:
        with tarfile.open(fileobj=io.BytesIO(said.stdout)) as archive:
            # Not as an argument: Python has it only since 3.11.4; older ones ignore the attribute.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(partial)  # noqa: S202 -- the operator's own code, which runs anyway
        _finish(partial, target)
    except (OSError, tarfile.TarError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OperatorError(f"{commit} could not be unpacked in {target}: {error}.") from None


def _why(error: OSError) -> str:
    """Return the first reason; copying a tree collects those of all files."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        return str(error.args[0][0][2])
    return error.strerror or str(error)


def _partial(target: Path) -> Path:
    _make(target.parent)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def _finish(partial: Path, target: Path) -> None:
    """Compile, then rename: a release is complete or does not exist."""
    compileall.compile_dir(
        partial / "src", quiet=2, stripdir=str(partial), prependdir=str(target), workers=1
    )
    _publish(partial, target)


def _publish(partial: Path, target: Path) -> None:
    if os.geteuid() == 0:  # the application runs as another user, which must read it
        public_files.make_public(partial)
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # another process may have been faster
            raise
        shutil.rmtree(partial, ignore_errors=True)


def _make(folder: Path) -> None:
    # Started by root the application runs as another user, which must traverse the directory.
    folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)


def _folder(home: Home) -> Path:
    outside = home.layout().releases
    return home.path / "releases" if outside is None else Path(outside)
