"""Previous release: run its tests on the schema of this checkout.

During a deploy, and after it until a rollback is no longer wanted, the release before runs on the
schema of the new one. CHANGELOG.md names its commit (tests/support/releases.py). Run as
`bin/test --previous [ARGUMENT…]`; arguments go to the pytest of that release.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support import next_schema
from tests.support.releases import released_commits

# The part that reads and writes most of the schema, without what describes the schema itself.
FAST = ("tests/ledger", "tests/cards", "tests/identity")
# What neither reads nor writes a table, or takes long for what others show as well.
OTHERS = (
    "tests/cards/jobs/test_csv_records.py",
    "tests/cards/jobs/test_throttle.py",
    "tests/cards/test_code_guessing.py",
    "tests/cards/test_codes.py",
    "tests/cards/test_constant_time.py",
    "tests/identity/credentials/test_jwt.py",
    "tests/identity/credentials/test_password_rules.py",
    "tests/identity/test_constant_time.py",
    "tests/identity/test_network_limits.py",
    "tests/ledger/test_list_plans.py",
    "tests/ledger/test_query_plans.py",
)
# Refused requests write nothing, and the ids of these tests of 0.1.0 hold the second in which they
# are collected, so that two processes can differ.
_REFUSED = "tests/cards/api/test_entry_points.py::test_both_entry_points_refuse_alike"
ARGUMENTS = (
    *(*FAST, *(f"--ignore={path}" for path in OTHERS), f"--deselect={_REFUSED}"),
    *("--only-embedded", "--operations", "80000", "-n", "2", "--dist", "loadfile"),
)
# Tests of 0.1.0 that list all tables or columns; later ones have the marker `schema`.
_LISTS = {"0.1.0": "not every_key_begins_with_the_merchant and not money_is_counted_in_64_bits"}


class PreviousReleaseUnknown(Exception):
    """Why its tests cannot run, in one sentence."""


def unpack(checkout: Path, commit: str, into: Path) -> None:
    """Unpack the files of a commit. Raises PreviousReleaseUnknown."""
    said = subprocess.run(
        ["git", "-c", f"safe.directory={checkout}", "-C", str(checkout), "archive", commit],
        capture_output=True,
        check=False,
    )
    if said.returncode != 0:
        msg = (
            f"commit {commit} is not in this clone; fetch the whole history (git fetch --unshallow)"
        )
        raise PreviousReleaseUnknown(msg)
    with tarfile.open(fileobj=io.BytesIO(said.stdout)) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(into)  # noqa: S202 -- the project's own history


def run_previous_tests(checkout: Path, arguments: Sequence[str]) -> int:
    """Return the exit code of the tests; 0 before the first release."""
    released = released_commits((checkout / "CHANGELOG.md").read_text("utf-8"))
    if not released:
        print("CHANGELOG.md names no closed release: there is nothing to run.")
        return 0
    version, commit = next(iter(released.items()))
    with tempfile.TemporaryDirectory(prefix="florin-previous-") as folder:
        there = Path(folder)
        unpack(checkout, commit, there)
        plugin = Path(next_schema.__file__)
        shutil.copy(plugin, there / plugin.name)
        print(f"The tests of {version} ({commit[:10]}) on the schema of {checkout}:", flush=True)
        words = [*(arguments or ARGUMENTS), "-p", plugin.stem]
        words += ["-k", _LISTS[version]] if version in _LISTS else ["-m", "not schema"]
        environ = os.environ | {next_schema.SCHEMA_FROM: str(checkout)}
        command = [str(there / "bin" / "test"), *words]
        return subprocess.run(command, cwd=there, env=environ, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    try:
        return run_previous_tests(Path(__file__).parents[2], arguments)
    except (PreviousReleaseUnknown, ValueError) as unknown:
        print(f"The tests of the release before did not run: {unknown}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
