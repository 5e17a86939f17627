"""Stub fleet: an instance with health and one program only, for tests of the supervisor.

Run as `stub_fleet.py api | migrate | demo | gate | toil | up HOME PORT [WORKERS [whole]]`; the
last one is a supervisor whose processes are the others; with WORKERS on a schema, and workers that
play with the toys of tests/kit/queue; whole: with the product's own processes, and only its day is
short.
"""

import asyncio
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "currency": "EUR", "balanced": True}).encode()
        if self.path == "/metrics":
            body = b"standins 1\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def serve() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN if os.environ.get("STANDIN_STUBBORN") else leave)
    host = os.environ["FLORIN_HOST"]
    operations = ThreadingHTTPServer((host, int(os.environ["FLORIN_OPERATIONS_PORT"])), Answers)
    Thread(target=operations.serve_forever, daemon=True).start()
    ThreadingHTTPServer((host, int(os.environ["FLORIN_PORT"])), Answers).serve_forever()


def serve_page() -> None:
    """Stand in for the operator process: one port."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    address = ("127.0.0.1", int(os.environ["FLORIN_OPERATIONS_PORT"]))
    ThreadingHTTPServer(address, Answers).serve_forever()


def toil() -> int:
    root = str(Path(__file__).parents[2])
    sys.path.insert(0, root)
    os.environ["PYTHONPATH"] = (
        f"{os.environ['PYTHONPATH']}:{root}"  # for jobs that run in a process of their own
    )
    from tests.kit.queue import toys

    return toys.main(["5"])


def check() -> None:
    """Be a gate that finds every instance right, or wrong as STANDIN_GATE says."""
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"wrong": os.environ.get("STANDIN_GATE", "")}), flush=True)


def die_at(number: int) -> None:
    """End the process as by a kill, soon after the step with this number has begun."""
    from florin.ops.planning.rollout import RolloutStep
    from florin.ops.rollout.gate import GateProcess
    from florin.ops.rollout.instances import InstanceProcesses

    take, begun = InstanceProcesses.take, count(1)

    async def dying(
        self: InstanceProcesses, step: RolloutStep, soak_s: float, gate: GateProcess | None = None
    ) -> None:
        if next(begun) == number:
            if step.verb == "switch":  # over within milliseconds: killed before it is recorded
                await take(self, step, soak_s, gate)
                os.kill(os.getpid(), signal.SIGKILL)
            if step.verb in ("start", "admit", "check", "stop"):
                loop = asyncio.get_running_loop()
                loop.call_later(0.05, os.kill, os.getpid(), signal.SIGKILL)
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        await take(self, step, soak_s, gate)

    InstanceProcesses.take = dying


def record_paths(log: str) -> None:
    """Record every path that this process changes, and every path that it passes to a child."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    changes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    acts = ("chown", "chmod", "rename", "remove", "mkdir", "rmdir", "link", "symlink", "truncate")

    def heard(event: str, words: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            found = [("named", word) for word in words[1]]
        elif event == "open" and isinstance(words[2], int) and words[2] & changes:
            found = [("changed", words[0])]
        elif event.removeprefix("os.") in acts:
            found = [("changed", word) for word in words]
        else:
            return
        paths = [
            (how, os.fsdecode(each)) for how, each in found if isinstance(each, str | bytes | Path)
        ]
        for how, path in paths:
            os.write(handle, f"{how} {path}\n".encode())

    sys.addaudithook(heard)


def fail_at(number: int, kind: str) -> None:
    """Let a step of the first plan fail with an unexpected error."""
    from florin.ops.haproxy.runtime_api import CommandRefused
    from florin.ops.planning.rollout import RolloutStep
    from florin.ops.rollout.gate import GateProcess
    from florin.ops.rollout.instances import InstanceProcesses

    errors = {"refused": CommandRefused("No such server."), "fault": KeyError("s1")}
    take, begun = InstanceProcesses.take, count(1)

    async def failing(
        self: InstanceProcesses, step: RolloutStep, soak_s: float, gate: GateProcess | None = None
    ) -> None:
        if next(begun) == number:
            raise errors[kind]
        await take(self, step, soak_s, gate)

    InstanceProcesses.take = failing


def supervise(home: str, port: str, workers: str = "", whole: str = "") -> int:
    from florin.ops.fleet.home import Home
    from florin.ops.fleet.options import Commands, UpOptions, florin_command
    from florin.ops.lifecycle.succession import AGAIN, restart_supervisor
    from florin.ops.lifecycle.up import run_fleet
    from florin.ops.planning.autoscaling import ScalingLimits
    from florin.ops.system import os_user
    from florin.ops.system.console import OperatorError

    def me(word: str) -> tuple[str, ...]:
        return (sys.executable, "-P", __file__, word)

    if os.environ.get("STANDIN_AS_ROOT"):  # like releases that had no account for the application
        os_user.process_account = lambda _name: None
    if os.environ.get("STANDIN_PATHS"):
        record_paths(os.environ["STANDIN_PATHS"])
    worker_count = None if workers == "last" else "auto" if workers == "auto" else int(workers or 0)
    migrate = florin_command("migrate") if workers else me("migrate")
    standins = Commands(
        api=me("api"),
        worker=me("toil"),
        operator=me("operator"),
        mailbox=None,
        migrate=migrate,
        demo=me("demo"),
        gate=me("gate"),
    )
    # Short periods: waiting jobs are to be gone within two seconds, and idle workers end soon.
    quick = ScalingLimits(most=4, window_s=3, shrink_every_s=1, bulk_within_s=2, trial_s=600)
    if os.environ.get("STANDIN_DIES_AT"):
        die_at(int(os.environ["STANDIN_DIES_AT"]))
    if failing := os.environ.get("STANDIN_FAILS_AT"):
        number, kind = failing.split(":")
        fail_at(int(number), kind)
    pair = [Path(path) for path in os.environ.get("STANDIN_TLS", "").split(os.pathsep) if path]
    options = UpOptions(
        home=Home(Path(home)),
        environ=dict(os.environ),
        port=int(port),
        operations_port=int(os.environ.get("STANDIN_OPERATIONS_PORT", "0")) or None,
        tls=(pair[0], pair[1]) if pair else None,
        workers=worker_count,
        replicas=0,
        valkey=os.environ.get("STANDIN_VALKEY"),  # type: ignore[arg-type]
        limits=quick,
        scale_every_s=0.5,
        commands=Commands() if whole else standins,
    )
    try:
        code = run_fleet(options)
    except OperatorError as error:
        print(f"florin: {error}", file=sys.stderr)
        return 1
    if code == AGAIN:
        restart_supervisor(options)
    return code


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["api"]:
            serve()
        case ["operator"]:
            serve_page()
        case ["migrate"]:
            pass
        case ["demo"]:
            print(json.dumps({"merchant": "mer_1", "program": "prg_1", "api_key": "flk_1"}))
        case ["gate"]:
            check()
        case ["toil"]:
            sys.exit(toil())
        case ["up", home, port, *more]:
            sys.exit(supervise(home, port, *more))
        case _:
            sys.exit(2)
