"""Memory: how many bytes new processes may still use, on this machine and in this container."""

import re
from pathlib import Path

_LIMITS = (  # limit and use of a container: cgroup version 2, then 1
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    (
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the available bytes; None where the system does not report them.

    It is what the kernel estimates to be available without swapping (MemAvailable), and no more
    than the container's limit leaves. A container's use includes its page cache, so that part of
    the answer is too low rather than too high.
    """
    text = _read(root / "proc/meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        return None
    available = int(found[1]) * 1024
    for limit, used in _LIMITS:
        most, now = _read(root / limit).strip(), _read(root / used).strip()
        if most.isdigit() and now.isdigit():
            available = min(available, max(0, int(most) - int(now)))
    return available


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace")
    except OSError:
        return ""
