"""Engine: commands of `docker` and what they say."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from florin.ops.system.console import OperatorError

_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerCommand:
    """Runs `docker` in a directory with the environment of this process and `environ` on top."""

    cwd: Path
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    without: frozenset[str] = frozenset()  # variables that are not passed on

    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in self.without}
        return kept | dict(self.environ)

    async def run(
        self, words: Sequence[str], *, within_s: float = _WITHIN_S, both: bool = False
    ) -> str:
        """Return what the command prints, with `both` also to stderr.

        Raises OperatorError with its last words.
        """
        if shutil.which("docker") is None:
            raise OperatorError("docker is not installed here; install Docker 25 or newer.")
        child = await asyncio.create_subprocess_exec(
            "docker",
            *words,
            cwd=self.cwd,
            env=self.variables(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if both else asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(within_s):
                printed, errors = await child.communicate()
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
            if isinstance(error, TimeoutError):
                shown = " ".join(words[:3])
                raise OperatorError(
                    f"docker {shown} … did not end within {within_s:.0f} s."
                ) from None
            raise
        if child.returncode != 0:
            lines = (errors or printed).decode(errors="replace").strip().splitlines()
            why = lines[-1].strip() if lines else f"exit code {child.returncode}"
            raise OperatorError(f"docker {' '.join(words[:3])} … failed: {why}")
        return printed.decode(errors="replace")
