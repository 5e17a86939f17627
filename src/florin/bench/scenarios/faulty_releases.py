"""Faulty releases: copies of this code with one fault each, to check that a deploy detects
them.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import florin


@dataclass(frozen=True, slots=True)
class Fault:
    """Lines added to the end of a module; `says` is the expected reason of the rollback."""

    module: str
    lines: str
    says: str


FAULTS = {
    "good": Fault("__init__.py", "# Another release.\n", ""),
    "does not start": Fault("app.py", 'raise RuntimeError("this release is broken")\n', "ended"),
    "is never ready": Fault(
        "kit/server/health.py", "Health.ready = lambda self: 503\n", "did not serve within"
    ),
    "dies soon": Fault(
        "app.py",
        "import os, threading\nthreading.Timer(2.5, os._exit, [3]).start()\n",
        "soon after",
    ),
    "answers 500": Fault(
        "cards/api/fast_routes.py",
        "async def _broken(*_arguments):\n    raise RuntimeError\n\n\n"
        "FastRoutes.look_up = _broken\n",
        "requests failed",
    ),
    "is slow": Fault(
        "cards/api/fast_routes.py",
        "_quick = FastRoutes.look_up\n\n\nasync def _slow(self, *arguments):\n"
        "    import asyncio\n\n    await asyncio.sleep(1)\n    await _quick(self, *arguments)\n\n\n"
        "FastRoutes.look_up = _slow\n",
        "a request takes",
    ),
}


def make_faulty_release(into: Path, name: str) -> Path:
    """Write the faulty release below the directory and return its path."""
    fault, root = FAULTS[name], into / name.replace(" ", "-")
    package = root / "src" / "florin"
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(florin.__file__).parent, package, ignore=leave)
    with (package / fault.module).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{fault.lines}")
    return root
