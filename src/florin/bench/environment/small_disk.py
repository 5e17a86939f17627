"""Small disk: a file system of its own for a folder, which a benchmark can fill. It needs root."""

import contextlib
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_PAGE = 4096


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Generator[bool]:
    """Mount a tmpfs over the folder, which is created; yield whether that was possible."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode={folder.stat().st_mode & 0o777:o}"
    mounted = os.geteuid() == 0 and _succeeds(
        "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder
    )
    try:
        yield mounted
    finally:
        if mounted:
            _succeeds("umount", "--lazy", folder)


@contextmanager
def filled_disk(folder: Path) -> Generator[None]:
    """Fill the folder's disk to the last page while the body runs."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, _PAGE):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size) == size:
                        pass
        yield
    finally:
        filler.unlink(missing_ok=True)


def _succeeds(*words: str | Path) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
