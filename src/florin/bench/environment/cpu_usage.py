"""CPU usage: the machine's processors, and the CPU time of processes, from /proc."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """CPU seconds so far, by part; `generator` counts the generators that ended."""

    api: float
    postgres: float
    generator: float
    balancer: float = 0  # none was started

    def since(self, before: "CpuUsage") -> "CpuUsage":
        return CpuUsage(
            self.api - before.api,
            self.postgres - before.postgres,
            self.generator - before.generator,
            self.balancer - before.balancer,
        )


def read_cpu_usage(instances: list[int], postmaster: int, balancer: int | None) -> CpuUsage:
    """Read the CPU times. PostgreSQL's includes its ended processes, which their parent counts."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return CpuUsage(
        sum(_cpu(pid) for pid in instances),
        _cpu(postmaster, children=True) + sum(_cpu(pid) for pid in _children(postmaster)),
        ended.ru_utime + ended.ru_stime,
        0 if balancer is None else _cpu(balancer),
    )


def process_cpu_s(pid: int) -> float:
    """The CPU time of one process so far, in seconds."""
    return _cpu(pid)


def peak_rss_mb(pid: int) -> float:
    for line in (_PROC / str(pid) / "status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def core_count() -> int:
    return len(os.sched_getaffinity(0))


def cpu_model() -> str:
    try:
        text = (_PROC / "cpuinfo").read_text("utf-8")
    except OSError:
        return "unknown"
    for line in text.splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return "unknown"


def _cpu(pid: int, *, children: bool = False) -> float:
    fields = _stat(pid)
    return sum(int(field) for field in fields[11 : 15 if children else 13]) * _TICK_S


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for entry in _PROC.glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields and int(fields[1]) == parent:
            found.append(int(entry.name))
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty when the process has ended."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", errors="replace")
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()
