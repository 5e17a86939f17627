"""Runner: break the guards of the money one by one, in a copy, and see which test notices.

Each mutant is a copy of the sources and tests with one mutation, in which only the tests that
should notice are run. Before the mutants the same tests run on an unbroken copy: a test that fails
anyway notices nothing.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import msgspec

from florin.ops.system.console import OperatorError, say, voice
from tests.mutation.ledger import MUTATIONS, Mutation

OPERATIONS = 20_000  # of the machine: enough for what each mutation breaks to come up
SEED = 1
_NAMES = "tests/mutation/*.py"
_COPIED = ("src", "sdk", "tests", "docs", "deploy", "requirements", "pyproject.toml")
_UNBROKEN_WITHIN_S = 1800
_WITHIN_S = 180  # or thrice what all the tests took unbroken, on a machine that is slow
_STOPPED_WITHIN_S = 60
_FAILED = re.compile(r"^FAILED (\S+)", re.MULTILINE)
_PASSED, _FAILURES = 0, 1  # exit codes of pytest


class Fate(msgspec.Struct, kw_only=True):
    """The result of a mutant. `by`: the first test that failed, or the error."""

    name: str
    file: str
    fate: str  # caught, survived, or broken: the mutation itself is wrong
    by: str
    seconds: float


def main(*, as_json: bool = False, only: Sequence[str] = ()) -> int:
    """Run `florin bench mutants`; return 1 if a mutant survives. `only`: the mutants whose
    name contains one of these texts.
    """
    # A shell ignores SIGINT in background jobs. The tests would inherit that, could not be stopped
    # by SIGINT and would leave their servers running.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    checkout = _checkout()
    wanted = [each for each in MUTATIONS if not only or any(word in each.name for word in only)]
    if not wanted:
        raise OperatorError(f"No mutant has such a name; the names are in {_NAMES}.")
    with tempfile.TemporaryDirectory(prefix="florin-mutants-") as folder:
        place = Path(folder)
        place.chmod(0o755)  # the account of the engines needs access
        try:
            with _copy(checkout, place) as whole:  # edits in the checkout have no effect
                took = _run_unbroken(whole, wanted)
                fates = _run_all(whole, place, wanted, max(_WITHIN_S, 3 * took))
        finally:
            voice.clear()
    missed = [fate for fate in fates if fate.fate != "caught"]
    if as_json:
        document = {
            "object": "mutants",
            "mutants": fates,
            "caught": len(fates) - len(missed),
            "ok": not missed,
        }
        print(msgspec.json.encode(document).decode())
    else:
        print(f"{len(fates) - len(missed)} of {len(fates)} mutants were caught.")
    return 1 if missed else 0


def _run_all(
    checkout: Path, place: Path, wanted: Sequence[Mutation], within_s: float
) -> list[Fate]:
    fates: list[Fate] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for fate in pool.map(partial(_fate, checkout, place, within_s), wanted):
            fates.append(fate)
            say(f"{fate.fate:<9}{fate.name}  ({fate.by}, {fate.seconds:.0f} s)")
            voice.status(f"{len(fates)} of {len(wanted)} mutants …")
    return fates


def _fate(checkout: Path, place: Path, within_s: float, mutation: Mutation) -> Fate:
    begun = time.monotonic()
    fate, by = "broken", ""
    with _copy(checkout, place) as copy:
        try:
            mutate(copy, mutation)
        except LookupError as error:
            by = str(error)
        else:
            code, said = _pytest(copy, mutation.tests, within_s)
            failed = _FAILED.search(said)
            if code == _PASSED:
                fate, by = "survived", " ".join(mutation.tests)
            elif code is None:
                fate, by = "caught", "its tests never ended"
            elif code == _FAILURES and failed is not None:
                fate, by = "caught", failed.group(1)
            else:  # such as SQL that no server takes: nothing was tried
                by = said.strip().splitlines()[-1] if said.strip() else f"exit code {code}"
    return Fate(
        name=mutation.name, file=mutation.file, fate=fate, by=by, seconds=time.monotonic() - begun
    )


def mutate(checkout: Path, mutation: Mutation) -> None:
    """Raises LookupError where the text is not there exactly once."""
    path = checkout / mutation.file
    text = path.read_text("utf-8")
    if (times := text.count(mutation.find)) != 1:
        raise LookupError(f"its text is in {mutation.file} {times} times")
    path.write_text(text.replace(mutation.find, mutation.put), "utf-8")


def _run_unbroken(checkout: Path, wanted: Sequence[Mutation]) -> float:
    """Returns how long it took, in seconds. Leaves bytecode, which the copies share: compiling
    every module again took most of the time of a mutant.
    """
    begun = time.monotonic()
    tests = sorted({test for mutation in wanted for test in mutation.tests})
    voice.status("the same tests on what is not broken …")
    parallel = ("-n", str(os.cpu_count() or 1), "--dist", "loadfile")
    code, said = _pytest(checkout, (*parallel, *tests), _UNBROKEN_WITHIN_S)
    if code is None:
        raise OperatorError(
            f"The tests did not end in {_UNBROKEN_WITHIN_S} s; run this when nothing else runs."
        )
    if code != _PASSED:
        print(said[-3000:], file=sys.stderr)
        raise OperatorError("The tests fail without any mutant; see to that first.")
    return time.monotonic() - begun


@contextmanager
def _copy(checkout: Path, place: Path) -> Generator[Path]:
    copy = Path(tempfile.mkdtemp(prefix="copy-", dir=place))
    copy.chmod(0o755)
    try:
        for name in _COPIED:
            source = checkout / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns(".*"))
            else:
                shutil.copy(source, copy / name)
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _pytest(copy: Path, arguments: Sequence[str], within_s: float) -> tuple[int | None, str]:
    """Run pytest there: the exit code, None where it had to be ended, and what was said."""
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-P",
                "-m",
                "pytest",
                "-x",
                "-q",
                "--tb=line",
                "-p",
                "no:cacheprovider",
            ),
            *("--form", "every", "--only-embedded", "--rounds", "1", "--seed", str(SEED)),
            *("--operations", str(OPERATIONS), *arguments),
        ],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        said = _end(process)
        return None, said
    except BaseException:
        _end(process)
        raise
    return process.returncode, said


def _end(process: "subprocess.Popen[str]") -> str:
    """As Ctrl-C would, so that it ends the servers it started."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=_STOPPED_WITHIN_S)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


def _checkout() -> Path:
    """Where the tests are. Makes the test environment where only the product's is there."""
    checkout = Path(__file__).parents[2]
    if find_spec("pytest") is None:
        made = subprocess.run(
            [checkout / "bin" / "test", "--version"], check=False, stdout=sys.stderr
        )
        if made.returncode != 0:
            raise OperatorError(
                "The test environment could not be created; bin/test shows the reason."
            )
    return checkout
