"""Where a benchmark makes its temporary directory."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the run makes its temporary directory; the engines' user may pass through."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    made = tmp_path / "temporary"
    made.mkdir(mode=0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)
