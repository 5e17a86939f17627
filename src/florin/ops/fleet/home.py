"""Home: the directory with a fleet's state, secrets, logs and data."""

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

_FOLDERS = ("run", "logs", "releases", "balancer", "saved")  # Florin writes into these


@dataclass(frozen=True, slots=True)
class Layout:
    """Ports and directories chosen at an earlier start; the next start uses them again."""

    data_dir: str | None = None
    releases: str | None = None  # None: in the home
    operator: str | None = None  # of the operator process; None: in the home
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
        """Create the missing directories. Raises OperatorError when that is not possible."""
        self.require_own()
        if os.pathsep in str(self.path):
            raise OperatorError(
                f"The path of the home, {self.path}, contains '{os.pathsep}', which Python uses to"
                " separate directories; choose another directory with --home DIR (or FLORIN_HOME)."
            )
        try:
            # Engines started by root run as another user, which must be able to traverse the home.
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
                f"{self.path} belongs to another user; run this command as that user."
            ) from None
        except (OSError, msgspec.DecodeError):
            return Fleet()  # unreadable means unknown; the pid files still show what runs

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
        """Acquire the supervisor's lock and return its file descriptor; None while another process
        has it.

        The kernel releases it when its process ends, so it is never stale.
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
    """Return the home: --home, FLORIN_HOME, or .florin in the checkout (else in the working
    directory).
    """
    if option is None and environ.get("FLORIN_HOME"):
        option = Path(environ["FLORIN_HOME"])
    if option is None:
        option = Path(environ.get("FLORIN_CHECKOUT") or Path.cwd()) / ".florin"
    return Home(option.expanduser().absolute())


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically: a reader sees the old or the new content, never a part."""
    # An unpredictable name, and never an existing file: not even through a symlink.
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
            f"The disk of {path} is full: {purpose} needs {megabytes} MB and {free} MB are free."
            " Free some space and run this command again."
        )


def _why_not(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError) or error.errno in (1, 13, 30):  # EPERM EACCES EROFS
        return (
            f"This user may not write to {path}; choose another directory with --home DIR"
            " (or FLORIN_HOME)."
        )
    if error.errno in (28, 122):  # ENOSPC EDQUOT
        return f"The disk of {path} is full; free at least 300 MB and run this command again."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"{path} is not a directory; choose a directory with --home DIR (or FLORIN_HOME)."
    return f"{path} cannot be used: {error.strerror}."
