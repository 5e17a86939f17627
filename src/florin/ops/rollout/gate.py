"""Gate: the process that checks a deployment with a test merchant, and what the supervisor asks it.

It is a process of its own: it knows gift cards, and its load does not delay the supervisor. It
reads orders from a pipe and ends with it, so also when the supervisor is killed.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from florin.kit.gate_orders import GateOrder, GateReply
from florin.ops.supervisor.launch import log_tail
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from florin.ops.system.processes import ProcessId

COMPARED_REQUESTS = 400  # that new instances must have answered before a release is promoted
_READY_WITHIN_S = 30.0
_REPLY_WITHIN_S = 180.0  # more than the load, a hanging request and the comparison take
_END_WITHIN_S = 15.0  # to empty the cards of its load and to revoke its key
_OWNER = ("DATABASE_URL_OWNER", "DATABASE_URL_OWNER_FILE")  # the role for migrations
_LINE_LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class Verification:
    """The requests of the gate's load during a deployment, and how many of them failed."""

    requests: int
    failed: int
    bound: float  # upper confidence bound of the share of failures, at 95 %
    routes: int
    routes_all: int

    def describe(self) -> str:
        share = self.routes / self.routes_all if self.routes_all else 0
        return (
            f"{self.failed} of {self.requests} requests failed (with 95 % confidence at most"
            f" {self.bound:.3%} do); {self.routes} of {self.routes_all} routes ({share:.0%}) were"
            " used; the ledger equals the client's log"
        )


class GateProcess:
    """Runs the gate; an async context manager that starts the process and ends it."""

    def __init__(self, command: tuple[str, ...], environ: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environ = {name: v for name, v in environ.items() if name not in _OWNER}
        self._log = log
        self._child: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._child = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environ,
                cwd=Path("/"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                limit=_LINE_LIMIT,
            )
        finally:
            os.close(log)
        try:
            await self._read(_READY_WITHIN_S)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    @property
    def process(self) -> ProcessId | None:
        """The running process, for tests of its end."""
        return None if self._child is None else processes.find_process(self._child.pid)

    def close_input(self) -> None:
        """Let it tidy up and end."""
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.close()

    async def check(self, name: str, address: str) -> None:
        """Test an instance at its own address. Raises OperatorError when it answers wrongly."""
        reply = await self._ask(GateOrder(verb="check", address=address))
        if reply.wrong:
            raise OperatorError(f"{name} did not pass its check: {reply.wrong}")

    async def begin_load(self, address: str, *, tls: bool) -> None:
        """Begin to send requests through the balancer."""
        await self._ask(GateOrder(verb="load", address=address, tls=tls))

    async def compare(
        self, requests: int = COMPARED_REQUESTS, *, within_s: float = 60.0
    ) -> Verification:
        """Compare the ledger with the log after so many more requests.

        Raises OperatorError when a request failed, a cent differs, or fewer were answered in time.
        """
        reply = await self._ask(GateOrder(verb="compare", requests=requests, within_s=within_s))
        if reply.wrong:
            raise OperatorError(f"The verification failed: {reply.wrong}")
        return Verification(
            reply.requests, reply.failed, reply.bound, reply.routes, reply.routes_all
        )

    async def _ask(self, order: GateOrder) -> GateReply:
        assert self._child is not None
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # it ended: reading says why
            self._child.stdin.write(msgspec.json.encode(order) + b"\n")
            await self._child.stdin.drain()
        return await self._read(_REPLY_WITHIN_S)

    async def _read(self, within_s: float) -> GateReply:
        assert self._child is not None
        assert self._child.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                line = await self._child.stdout.readline()
        except TimeoutError:
            raise OperatorError(f"The gate gave no answer within {within_s:.0f} s.") from None
        try:
            return msgspec.json.decode(line, type=GateReply)
        except msgspec.DecodeError:
            said = log_tail(self._log, lines=1) or f"see {self._log}"
            raise OperatorError(f"The gate ended: {said}") from None

    async def _end(self) -> None:
        """Close its input, so that it tidies up and ends; kill it if it does not."""
        child = self._child
        if child is None:
            return
        self.close_input()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await child.communicate()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
