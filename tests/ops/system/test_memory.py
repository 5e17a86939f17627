"""Memory: the machine's available memory, and the container's limit where there is one."""

from pathlib import Path

import pytest

from florin.ops.system.memory import available_memory


def machine(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "ascii")
    return root


MEMINFO = "MemTotal:        8000 kB\nMemFree:          100 kB\nMemAvailable:    4000 kB\n"


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({"proc__meminfo": MEMINFO}, 4000 * 1024),
        (
            {
                "proc__meminfo": MEMINFO,
                "sys__fs__cgroup__memory.max": "max\n",
                "sys__fs__cgroup__memory.current": "5\n",
            },
            4000 * 1024,
        ),
        (
            {
                "proc__meminfo": MEMINFO,
                "sys__fs__cgroup__memory.max": "3000000\n",
                "sys__fs__cgroup__memory.current": "1000000\n",
            },
            2_000_000,
        ),
        (
            {
                "proc__meminfo": MEMINFO,
                "sys__fs__cgroup__memory__memory.limit_in_bytes": "1000\n",
                "sys__fs__cgroup__memory__memory.usage_in_bytes": "2000\n",
            },
            0,
        ),
        ({}, None),
    ],
)
def test_the_smaller_of_both_counts(
    tmp_path: Path, files: dict[str, str], available: int | None
) -> None:
    assert available_memory(machine(tmp_path, **files)) == available


def test_this_machine_has_some() -> None:
    found = available_memory()
    assert found is None or found > 0
