"""Fixtures of the benchmark tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """The parent of the run's temporary directory; the engines' account may traverse it."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    made = tmp_path / "temporary"
    made.mkdir(mode=0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)
