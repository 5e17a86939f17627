"""Home: the directory in which a fleet's facts, secrets, logs and data live."""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from florin.ops.fleet import model as facts
from florin.ops.fleet.model import Fleet
from florin.ops.system.console import OperatorError
from florin.ops.system.public_files import require_own

_FOLDERS = ("run", "logs", "releases", "balancer", "saved")  # what we write into


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things were put at an earlier start: remembered, so that the next finds them."""

    data_dir: str | None = None
    releases: str | None = None  # None: in the home
    ports: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Home:
    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets.json"

    @property
    def demo(self) -> Path:
        return self.path / "demo.json"

    def make(self) -> None:
        """Create what is missing; one sentence when that is not allowed or not possible."""
        self.require_own()
        if os.pathsep in str(self.path):
            raise OperatorError(
                f"{self.path} holds a '{os.pathsep}', which separates the directories in which"
                " Python looks for a release; choose another directory with --home DIR (or"
                " FLORIN_HOME)."
            )
        try:
            # Root's engines run as another user, who must be able to pass through.
            self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            for folder in (self.run, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.run) as probe:
                probe.write(b"florin")
        except OSError as error:
            raise OperatorError(_why_not(self.path, error)) from None

    def require_own(self) -> None:
        """Refuse, as root, a home that another user could change. Raises OperatorError."""
        for folder in (self.path, *(self.path / name for name in _FOLDERS)):
            require_own(folder)

    def fleet(self) -> Fleet:
        try:
            return facts.decode_fleet((self.run / "fleet.json").read_bytes())
        except FileNotFoundError:
            return Fleet()
        except PermissionError:
            raise OperatorError(
                f"{self.path} belongs to another user; run this as that user."
            ) from None
        except (OSError, msgspec.DecodeError):
            return Fleet()  # unreadable is unknown; the pid files still tell what runs

    def write_fleet(self, fleet: Fleet) -> None:
        write_file(self.run / "fleet.json", facts.encode_fleet(fleet))

    def layout(self) -> Layout:
        try:
            return msgspec.json.decode((self.path / "layout.json").read_bytes(), type=Layout)
        except (OSError, msgspec.DecodeError):
            return Layout()

    def write_layout(self, layout: Layout) -> None:
        write_file(self.path / "layout.json", msgspec.json.encode(layout))

    def lock(self) -> int | None:
        """Take the supervisor's lock; None while a living process holds it.

        The kernel gives it back when the holder dies, so it is never stale.
        """
        self.require_own()
        handle = os.open(self.run / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle


def locate_home(option: Path | None, environ: Mapping[str, str]) -> Home:
    """Return the home: --home, FLORIN_HOME, or .florin beside the code (else here)."""
    if option is None and environ.get("FLORIN_HOME"):
        option = Path(environ["FLORIN_HOME"])
    if option is None:
        option = Path(environ.get("FLORIN_CHECKOUT") or Path.cwd()) / ".florin"
    return Home(option.expanduser().absolute())


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file whole: a reader sees the old or the new, never half."""
    # A name that nobody can foresee, and never a file that is there: not even through a symlink.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
        )
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OperatorError(_why_not(path, error)) from None


def require_space(path: Path, megabytes: int, purpose: str) -> None:
    free = shutil.disk_usage(path).free // 2**20
    if free < megabytes:
        raise OperatorError(
            f"The disk of {path} is full: {free} MB are free and {purpose} needs {megabytes} MB;"
            " free some and run this again."
        )


def _why_not(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError) or error.errno in (1, 13, 30):  # EPERM EACCES EROFS
        return (
            f"{path} is not writable for this user; choose another directory with --home DIR"
            " (or FLORIN_HOME)."
        )
    if error.errno in (28, 122):  # ENOSPC EDQUOT
        return f"The disk of {path} is full; free at least 300 MB and run this again."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"{path} is not a directory; choose another with --home DIR (or FLORIN_HOME)."
    return f"{path} cannot be used: {error.strerror}."
