"""Test disks: a small one, and one whose power can be cut. Both need root."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MB, _PAGE = 2**20, 4096
# Nothing is written back by the clock of the file system: what is on the disk was asked for.
_OPTIONS = "commit=300,noatime"
_PATH = f"{os.defpath}:/usr/sbin:/sbin"  # of root, independent of the shell of the tests


def _run(name: str, *words: str) -> str:
    program = shutil.which(name, path=_PATH) or name
    said = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def _require(*programs: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("to mount a disk of its own this test needs root")
    missing = [program for program in programs if shutil.which(program, path=_PATH) is None]
    if missing:
        pytest.skip(f"this system lacks {', '.join(missing)}")


@contextmanager
def _folder() -> Generator[Path]:
    made = Path(tempfile.mkdtemp(prefix="florin-test-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


class Small:
    """A tmpfs that can be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Fill the disk to the last page, even while other processes write."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (_MB, _PAGE):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size) == size:
                        pass

    def empty(self) -> None:
        self._filler.unlink()


@contextmanager
def small(megabytes: int, at: Path | None = None) -> Generator[Small]:
    """Mount it in a folder of its own, or over one that exists, whose owner has it then."""
    _require("mount", "umount")
    with _folder() if at is None else contextlib.nullcontext(at) as folder:
        found = folder.stat()
        options = f"size={megabytes}m,mode={found.st_mode & 0o777:o}"
        options += f",uid={found.st_uid},gid={found.st_gid}"
        said = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode != 0:
            pytest.skip(f"no disk may be mounted here: {said.stderr.strip()}")
        try:
            yield Small(folder)
        finally:
            _run("umount", "--lazy", str(folder))


class Powered:
    """A disk in a file. What the kernel keeps in memory for it is not in that file yet.

    A copy of the file is what a power cut leaves: what was made to stay, and what happened to be
    written. It shows what waits for `fsync`, not what a drive does that lies about it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self._image, self._copy = folder / "image", folder / "copy"
        self._device = ""

    def format(self, megabytes: int) -> None:
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(megabytes * _MB)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
        self.attach()
        self.path.chmod(0o755)

    def attach(self) -> None:
        self._device = _run("losetup", "--find", "--show", str(self._image))
        try:
            _run("mount", "-o", _OPTIONS, self._device, str(self.path))
        except AssertionError:
            self._detach_device()
            raise

    def detach(self) -> None:
        if self.path.is_mount():
            _run("umount", str(self.path))
        self._detach_device()

    def keep(self) -> None:
        """Flush everything that was written so far to the disk."""
        _run("sync", "-f", str(self.path))

    def cut(self) -> None:
        """Copy the disk until two copies are equal: then no process writes."""
        before = b""
        while (now := self._copied()) != before:
            before = now

    def restore_power(self) -> None:
        """Continue with the content at the power cut; no process may use the disk."""
        self.detach()
        self._copy.replace(self._image)
        self.attach()

    def _copied(self) -> bytes:
        _run("cp", "--sparse=always", str(self._image), str(self._copy))
        with self._copy.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()

    def _detach_device(self) -> None:
        if self._device:
            _run("losetup", "--detach", self._device)
            self._device = ""


@contextmanager
def powered(megabytes: int) -> Generator[Powered]:
    _require("mount", "umount", "losetup", "mkfs.ext4")
    with _folder() as folder:
        made = Powered(folder)
        try:
            made.format(megabytes)
        except AssertionError as error:
            pytest.skip(f"no disk can be made here: {error}")
        try:
            yield made
        finally:
            made.detach()
