"""Fixtures of the benchmark tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """The parent of the run's temporary directory; the engines' account may traverse it. Not below
    pytest's own directory, which every other run of pytest closes again.
    """
    made = Path(tempfile.mkdtemp(prefix="florin-test-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
