"""Checkouts: the load of the benchmark `checkout`, raw sockets in processes of their own.

A checkout is two requests: the order, and the buyer's choice on the page of the test gateway, whose
answer comes once the payment is settled and the card is issued.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from urllib.parse import urlsplit

import msgspec

from florin.bench.load.python_client import RawHttpClient

_CREATED, _SEE_OTHER = 201, 303
_PAID = b"outcome=paid"


class CheckoutLoad(msgspec.Struct, kw_only=True, frozen=True):
    """What to send: `count` checkouts by `connections` connections in `processes` processes."""

    host: str
    ports: tuple[int, ...]
    authorization: str
    program: str
    count: int
    connections: int
    processes: int
    tag: str


class CheckoutCounts(msgspec.Struct, kw_only=True):
    """The seconds of each complete checkout, and what failed."""

    took: list[float]
    failures: list[str]


class _Order(msgspec.Struct):
    pay_url: str


def run_checkouts(load: CheckoutLoad) -> CheckoutCounts:
    """Run the load and add up what its processes counted."""
    context = get_context("spawn")
    with ProcessPoolExecutor(load.processes, mp_context=context) as processes:
        shares = [processes.submit(_share, load, number) for number in range(load.processes)]
        counts = [share.result() for share in shares]
    return CheckoutCounts(
        took=sorted(second for each in counts for second in each.took),
        failures=[failure for each in counts for failure in each.failures],
    )


def _share(load: CheckoutLoad, process: int) -> CheckoutCounts:
    return asyncio.run(_drive(load, process))


async def _drive(load: CheckoutLoad, process: int) -> CheckoutCounts:
    counts = CheckoutCounts(took=[], failures=[])
    numbers = iter(range(process, load.count, load.processes))
    mine = range(process, load.connections, load.processes)
    await asyncio.gather(*(_connection(load, number, numbers, counts) for number in mine))
    return counts


async def _connection(
    load: CheckoutLoad, connection: int, numbers: Iterator[int], counts: CheckoutCounts
) -> None:
    client = RawHttpClient(load.host, load.ports[connection % len(load.ports)])
    try:
        for number in numbers:
            begun = time.monotonic()
            failure = await _check_out(client, load, number)
            if failure is None:
                counts.took.append(time.monotonic() - begun)
            else:
                counts.failures.append(failure)
    finally:
        client.close()


async def _check_out(client: RawHttpClient, load: CheckoutLoad, number: int) -> str | None:
    """Buy one card; return what failed."""
    try:
        status, body = await client.send(_order_request(load, number))
        if status != _CREATED:
            return f"POST /orders: {status} {body[:200]!r}"
        path = urlsplit(msgspec.json.decode(body, type=_Order).pay_url).path
        status, body = await client.send(_payment_request(path))
    except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
        return f"{type(error).__name__}: {error}"
    return None if status == _SEE_OTHER else f"POST {path}: {status} {body[:200]!r}"


def _order_request(load: CheckoutLoad, number: int) -> bytes:
    body = (
        f'{{"items":[{{"program":"{load.program}","amount":5000}}],'
        '"buyer":{"email":"buyer@example.com"},"gateway":"test"}'
    )
    return (
        "POST /api/v1/orders HTTP/1.1\r\nHost: florin.example\r\n"
        f"Idempotency-Key: {load.tag}-{number}\r\nAuthorization: {load.authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _payment_request(path: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: florin.example\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(_PAID)}\r\n\r\n"
    )
    return head.encode() + _PAID
