"""Wrk: load instances over HTTP with wrk, or with the Python client where wrk is missing."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from florin.bench.catalog import BATCH, Kind
from florin.bench.environment import cpu_usage
from florin.bench.environment.cpu_usage import CpuUsage
from florin.bench.environment.dataset import Dataset
from florin.bench.environment.servers import BenchInstance, BenchServers
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import OsAccount

PATHS: dict[Kind, str] = {
    "redeem": "/api/v1/redemptions",
    "batch": "/api/v1/redemptions/batch",
    "lookup": "/api/v1/cards/lookup",
}
_LUA = Path(__file__).with_name("wrk.lua")
_ANSWER = b"FLORIN "
_GRACE_S = 30


class DriveConfig(msgspec.Struct, kw_only=True, frozen=True):
    """The requests of one drive, and their destination."""

    host: str
    ports: list[int]
    path: str
    kind: Kind
    authorization: str
    seed: int
    tag: int  # differs in every drive of a run, so that no key repeats
    batch: int
    codes: list[str]
    connections: int
    threads: int
    seconds: float


class GeneratorCounts(msgspec.Struct, kw_only=True, frozen=True):
    """The counts of a generator. `ok` and `refused` are items of batches."""

    answers: int
    seconds: float
    status: int  # answers that were not 2xx
    socket: int  # broken connections, missing answers
    ok: int
    refused: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One drive, measured. `count` and `rate` are of redemptions or look-ups, not of requests."""

    count: int
    failures: int
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    used: CpuUsage

    @property
    def rate(self) -> float:
        return self.count / self.seconds


def generator_name() -> str:
    return "wrk" if shutil.which("wrk") else "florin"


async def drive_load(
    bench: BenchServers,
    dataset: Dataset,
    kind: Kind,
    *,
    instances: Sequence[BenchInstance],
    connections: int,
    seconds: float,
    seed: int,
    tag: int,
    leave_out: int = 0,
) -> Drive:
    """Send requests for `seconds`; the last `leave_out` cards of the dataset are not used."""
    threads = max(len(instances), min(cpu_usage.core_count(), connections))
    threads -= threads % len(instances)  # each instance gets the same number of connections
    connections = max(threads, connections - connections % threads)
    load = DriveConfig(
        host="127.0.0.1",
        ports=[instance.port for instance in instances],
        path=PATHS[kind],
        kind=kind,
        authorization=f"Bearer {dataset.secret}",
        seed=seed,
        tag=tag,
        batch=BATCH,
        codes=list(dataset.codes[: len(dataset.codes) - leave_out]),
        connections=connections,
        threads=threads,
        seconds=seconds,
    )
    before = bench.used()
    counted = await (_wrk(load) if generator_name() == "wrk" else _own(load))
    used = bench.used().since(before)
    done = counted.ok if kind == "batch" else counted.answers - counted.status
    return Drive(
        count=done,
        failures=counted.status + counted.socket + counted.refused,
        requests=counted.answers,
        seconds=counted.seconds,
        p50_ms=counted.p50_ms,
        p99_ms=counted.p99_ms,
        used=used,
    )


async def run_generator(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    within_s: float,
    account: OsAccount | None = None,
    stdin: bytes | None = None,
) -> bytes:
    """Run a generator and return its output; a cancellation kills it by its pid."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={"PATH": os.environ.get("PATH", os.defpath), **environ},
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        start_new_session=True,  # Ctrl-C reaches this process only, which ends the generator
        **({} if account is None else account.options()),
    )
    try:
        async with asyncio.timeout(within_s):
            out, error = await process.communicate(stdin)
    except TimeoutError:
        raise OperatorError(f"{Path(argv[0]).name} did not end within {within_s:.0f} s.") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # its process group: its children end too
            await process.wait()
    if process.returncode != 0:
        words = (error or out).decode(errors="replace").strip().splitlines()
        raise OperatorError(f"{Path(argv[0]).name} failed: {words[-1] if words else 'no output'}")
    return out


async def _wrk(load: DriveConfig) -> GeneratorCounts:
    with TemporaryDirectory(prefix="florin-load-") as folder:
        spec = Path(folder) / "wrk.lua"
        spec.touch(mode=0o600)  # the file holds an API key
        spec.write_text(_as_lua(load), "utf-8")
        argv = ["wrk", f"-t{load.threads}", f"-c{load.connections}", f"-d{_whole(load.seconds)}s"]
        argv += ["--timeout", "20s", "-s", str(_LUA), f"http://{load.host}:{load.ports[0]}/"]
        environ = {"FLORIN_BENCH_LOAD": str(spec)}
        out = await run_generator(argv, environ, within_s=load.seconds + _GRACE_S)
    return _counted(out)


async def _own(load: DriveConfig) -> GeneratorCounts:
    """Run as many processes as wrk would have threads, each with its share."""
    with TemporaryDirectory(prefix="florin-load-") as folder:
        spec = Path(folder) / "load.json"
        spec.touch(mode=0o600)
        spec.write_bytes(msgspec.json.encode(load))
        argv = [sys.executable, "-P", "-m", "florin.bench.load.python_client", str(spec)]
        environ = {"PYTHONPATH": str(Path(__file__).parents[3])}
        out = await run_generator(argv, environ, within_s=load.seconds + _GRACE_S)
    return _counted(out)


def _counted(out: bytes) -> GeneratorCounts:
    for line in out.splitlines():
        if line.startswith(_ANSWER):
            return msgspec.json.decode(line[len(_ANSWER) :], type=GeneratorCounts)
    raise OperatorError("The generator ended without reporting its counts.")


def _as_lua(load: DriveConfig) -> str:
    fields = [f"ports = {{{','.join(map(str, load.ports))}}}"]
    words = ("host", "path", "kind", "authorization")
    fields += [f'{name} = "{getattr(load, name)}"' for name in words]
    fields += [f"{name} = {getattr(load, name)}" for name in ("seed", "tag", "batch")]
    codes = ",".join(f'"{code}"' for code in load.codes)
    return f"return {{ {', '.join(fields)}, codes = {{{codes}}} }}\n"


def _whole(seconds: float) -> int:
    return max(1, round(seconds))
