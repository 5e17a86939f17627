"""Hooks: executables of the operator that run before and after each phase of a deployment."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from florin.ops.fleet.home import Home
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import ReportProgress
from florin.ops.system.console import OperatorError
from florin.ops.system.public_files import require_own

HookPhase = Literal["deploy", "migrate", "start", "check", "switch", "watch", "retire", "workers"]
HOOK_WITHIN_S = 300.0
_SHOWN_LINES = 20
_PASSED = ("PATH", "HOME", "LANG")  # no secrets


@dataclass(frozen=True, slots=True)
class DeployHooks:
    """The hooks of one deployment: `hooks/before-PHASE` and `hooks/after-PHASE` in the home."""

    home: Home
    change: Operation
    url: str
    report: ReportProgress

    async def run(
        self, when: Literal["before", "after"], phase: HookPhase, names: tuple[str, ...]
    ) -> None:
        """Run the hook if there is one. Raises OperatorError when it fails."""
        path = self.home.path / "hooks" / f"{when}-{phase}"
        if not path.exists():
            return
        if not os.access(path, os.X_OK) or not path.is_file():
            raise OperatorError(
                f"The hook {path} is not executable; run chmod +x on it, or remove it"
            )
        for own in (path.parent, path):  # root runs no file that another user can change
            require_own(own)
        self.report(f"hook {path.name}")
        await self._run(path, names)

    async def _run(self, path: Path, names: tuple[str, ...]) -> None:
        environ = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
        }
        environ |= {
            "FLORIN_HOME": str(self.home.path),
            "FLORIN_URL": self.url,
            "FLORIN_DEPLOY_RELEASE": self.change.release,
            "FLORIN_DEPLOY_STRATEGY": "blue-green" if self.change.blue_green else "rolling",
            "FLORIN_DEPLOY_WHO": self.change.who,
            "FLORIN_DEPLOY_PARTS": " ".join(names),
        }
        try:
            child = await asyncio.create_subprocess_exec(
                str(path),
                env=environ,
                cwd=self.home.path,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise OperatorError(f"The hook {path} cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(HOOK_WITHIN_S):
                said, _ = await child.communicate()
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
            if isinstance(error, TimeoutError):
                raise OperatorError(
                    f"The hook {path.name} did not end within {HOOK_WITHIN_S:.0f} s"
                ) from None
            raise
        lines = said.decode(errors="replace").strip().splitlines()
        for line in lines[-_SHOWN_LINES:]:
            self.report(f"  {line}")
        if child.returncode != 0:
            last = f": {lines[-1]}" if lines else ""
            raise OperatorError(f"The hook {path.name} failed (exit code {child.returncode}){last}")
