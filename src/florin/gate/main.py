"""Main: the process that checks a deployment. It ends with its stdin, so with its supervisor."""

import asyncio
import contextlib
import sys
from contextlib import AsyncExitStack

import asyncpg
import msgspec

from florin.gate import comparison, confidence
from florin.gate.client import CheckClient, CheckFailed, open_client
from florin.gate.instance_check import WARM_CONNECTIONS, check_instance
from florin.gate.load import RATE, TILLS, CheckLoad
from florin.gate.load_log import LoadLog
from florin.gate.merchant import CheckMerchant, open_check_merchant
from florin.kit.gate_orders import GateOrder, GateReply
from florin.kit.observability import logging
from florin.kit.settings import InvalidSettings, Settings, read_settings

_SEED = 1


def main() -> int:
    """Serve `florin gate`; return the exit code."""
    try:
        settings = read_settings()
    except InvalidSettings as wrong:
        print("\n".join(wrong.mistakes), file=sys.stderr)
        return 2
    logging.configure_logging(level="error", instance="gate")  # to stderr: stdout has the replies
    try:
        asyncio.run(_serve(settings))
    except (OSError, asyncpg.PostgresError) as error:
        print(f"The test merchant could not be created: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    async with open_check_merchant(settings) as merchant, AsyncExitStack() as stack:
        gate = DeploymentGate(merchant, stack, rate=_rate(settings.requests_per_minute))
        _reply(GateReply(ready=True))
        lines = await _lines()
        while line := await lines.readline():
            order = msgspec.json.decode(line, type=GateOrder)
            try:
                _reply(await gate.execute(order))
            except CheckFailed as error:
                _reply(GateReply(wrong=str(error)))


class DeploymentGate:
    """Executes the orders of one deployment."""

    def __init__(self, merchant: CheckMerchant, stack: AsyncExitStack, *, rate: float) -> None:
        self._merchant = merchant
        self._rate = rate
        self._stack = stack
        self._load: tuple[CheckClient, CheckLoad] | None = None

    async def execute(self, order: GateOrder) -> GateReply:
        """Execute an order. Raises CheckFailed."""
        if order.verb == "check":
            opened = open_client(order.address, self._merchant, connections=WARM_CONNECTIONS)
            async with opened as client:
                await check_instance(client, self._merchant)
            return GateReply()
        if order.verb == "load":
            opened = open_client(
                order.address, self._merchant, tls=order.tls, connections=TILLS + 1
            )
            client = await self._stack.enter_async_context(opened)
            load = CheckLoad(client, self._merchant, seed=_SEED, rate=self._rate)
            self._stack.push_async_callback(comparison.empty_cards, client, load.log)
            self._stack.push_async_callback(load.stop)
            load.start()
            self._load = client, load
            return GateReply()
        if self._load is None:
            raise CheckFailed("there is no load to compare with")
        client, load = self._load
        wanted = load.log.requests + order.requests
        await load.until(wanted, order.within_s)
        await load.pause()
        if load.log.requests < wanted:
            missing = f"only {load.log.requests} of {wanted} requests were answered in time"
            load.log.wrong.append(missing)
        # Nothing is compared after a failure: it decides, and there may be no one to ask.
        compared = not load.log.failed
        differences = await comparison.ledger_differences(client, load.log) if compared else []
        load.start()
        return _verdict(load.log, differences)


def _rate(per_minute: int) -> float:
    """Return the steps per second that the limit on requests allows, 0 being no limit.

    A step is up to two requests; the rest is for comparisons and checks.
    """
    return RATE if not per_minute else min(RATE, per_minute / 60 / 4)


def _verdict(log: LoadLog, differences: list[str]) -> GateReply:
    from florin.routes import NEEDS

    wrong = ""
    if differences:
        wrong = f"the ledger differs from the client's log: {differences[0]}"
    elif log.failed:
        wrong = f"{log.failed} of {log.requests} requests failed, first {log.failures[0]}"
    elif not log.requests:
        wrong = "no request was answered, so nothing was verified"
    return GateReply(
        wrong=wrong,
        requests=log.requests,
        failed=log.failed,
        bound=confidence.upper_bound(log.failed, log.requests) if log.requests else 1.0,
        routes=len(log.routes),
        routes_all=len(NEEDS),
    )


def _reply(reply: GateReply) -> None:
    with contextlib.suppress(BrokenPipeError):  # the supervisor has ended; so does stdin
        print(msgspec.json.encode(reply).decode(), flush=True)


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
