"""Workers for tests: real processes, stopped by their pid."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.instance import SECRETS

STOPPED_WITHIN_S = 90
_ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Crew:
    """Starts workers on one database, and stops the remaining ones at the end."""

    url: str
    module: Sequence[str]
    folder: Path
    started: list[subprocess.Popen[Any]] = field(default_factory=list[subprocess.Popen[Any]])

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[Any]:
        name = f"worker-{len(self.started) + 1}"
        environ = {
            "PATH": os.defpath,
            "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}",
            "DATABASE_URL": self.url,
            "FLORIN_ENV": "test",
            "FLORIN_INSTANCE": name,
            **SECRETS,
            **settings,
        }
        with (self.folder / name).open("ab") as file:
            process: subprocess.Popen[Any] = subprocess.Popen(
                [sys.executable, "-P", "-m", *self.module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environ,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def log(self, process: subprocess.Popen[Any]) -> str:
        return (self.folder / f"worker-{self.started.index(process) + 1}").read_text("utf-8")

    @staticmethod
    def stop(process: subprocess.Popen[Any]) -> int:
        """Stop it as a deploy does; return its exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(STOPPED_WITHIN_S)

    @staticmethod
    def kill(process: subprocess.Popen[Any]) -> None:
        process.kill()
        process.wait(10)

    def end(self) -> None:
        for process in self.started:
            print(self.log(process)[-2000:])  # shown when the test failed
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait(10)


@contextmanager
def crew(url: str, *module: str) -> Generator[Crew]:
    with tempfile.TemporaryDirectory(prefix="florin-test-") as folder:
        made = Crew(url, module, Path(folder))
        try:
            yield made
        finally:
            made.end()
