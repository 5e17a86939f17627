"""Main: the operator process: settings, listener, observer, signals.

It needs no other part of the fleet: it starts and serves while all of them are down.
"""

import asyncio
import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
import uvloop
from prometheus_client import generate_latest

from florin.kit.http.drain import Drain
from florin.kit.observability import logging, metrics
from florin.kit.server.operations import InnerServer
from florin.kit.server.protocol import BoundedHttpProtocol
from florin.kit.settings import InvalidSettings, read_variable
from florin.kit.settings.settings import ReceiverSettings, read_receivers
from florin.ops.alerting.alert_book import AlertBook
from florin.ops.alerting.change_events import EventBook
from florin.ops.alerting.dispatcher import AlertDispatcher
from florin.ops.alerting.receivers import make_receivers, open_client
from florin.ops.autoscaling.wanted_workers import WantedWorkers
from florin.ops.fleet.home import locate_home
from florin.ops.fleet.operator_folder import ALERTS, FACTS, ORDERS, operator_folder
from florin.ops.operator_page.alerts_view import describe_alerts
from florin.ops.operator_page.mailbox_view import open_mailbox
from florin.ops.operator_page.observer import FleetObserver
from florin.ops.operator_page.server import OperatorApplication

_PORT = 8001
_WORKERS_MOST = 1_000
_log = logging.get_logger()


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    try:
        host = read_variable("FLORIN_OPERATIONS_HOST") or "127.0.0.1"
        port = int(read_variable("FLORIN_OPERATIONS_PORT") or _PORT)
        database = read_variable("DATABASE_URL_PRIMARY") or read_variable("DATABASE_URL")
        receivers = read_receivers()
        workers = _wanted_workers(database)
        logging.configure_logging(
            level=logging.find_level(read_variable("FLORIN_LOG_LEVEL") or "info"),
            instance=read_variable("FLORIN_INSTANCE") or "operator",
        )
    except (InvalidSettings, ValueError) as error:
        _log.error("not started", detail=str(error))
        return 1
    try:
        listener = socket.create_server((host, port), family=_family(host), backlog=64)
    except OSError as error:
        detail = f"FLORIN_OPERATIONS_PORT: cannot listen on port {port} of {host}: {error.strerror}"
        _log.error("not started", detail=detail)
        return 1
    uvloop.run(_serve(_facts_file(), database, receivers, listener, workers))
    _log.info("stopped")
    return 0


async def _serve(
    facts: Path,
    database: str | None,
    settings: ReceiverSettings,
    listener: socket.socket,
    workers: WantedWorkers | None,
) -> None:
    drain = Drain(least_s=0.0, most_s=0.0)
    client = open_client()
    observer = FleetObserver(facts, database, alerts=lambda: describe_alerts(dispatcher))
    dispatcher = AlertDispatcher(
        AlertBook(facts.parent / ALERTS / "alerts.json"),
        make_receivers(settings, client),
        observer.collections,
        orders=facts.parent / ORDERS,
        place=_place(),
        page=observer.page_url,
        events=EventBook(facts.parent / ALERTS / "events.json"),
        changes=lambda: observer.facts.value.events,
    )

    async def metrics_text() -> bytes:
        own = "" if workers is None else workers.metrics()
        return generate_latest(metrics.registry) + own.encode()

    mailbox = open_mailbox(facts.parent)
    server = _server(OperatorApplication(observer, drain, metrics_text, workers, mailbox))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        drain.begin()
        drain.announced.set()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    observing = asyncio.ensure_future(_observe(observer, dispatcher, workers))
    host, port = listener.getsockname()[:2]
    _log.info("starting", host=host, port=port, pid=os.getpid())
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    # If observing ends, it is a bug: the process ends with it and is started again.
    await asyncio.wait({observing, serving}, return_when=asyncio.FIRST_COMPLETED)
    stop()
    await serving
    observing.cancel()
    await asyncio.wait({observing})
    await client.aclose()
    if not observing.cancelled() and observing.exception() is not None:
        _log.error("the operator process failed", error=repr(observing.exception()))


async def _observe(
    observer: FleetObserver, dispatcher: AlertDispatcher, workers: WantedWorkers | None
) -> None:
    # A task of its own, unlike a gathering, is cancelled without an error.
    async with asyncio.TaskGroup() as group:
        group.create_task(observer.run())
        group.create_task(dispatcher.run())
        if workers is not None:
            group.create_task(workers.run())


def _server(application: OperatorApplication) -> InnerServer:
    return InnerServer(
        uvicorn.Config(
            application,
            loop="none",
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
    )


def _facts_file() -> Path:
    named = read_variable("FLORIN_FACTS")
    return Path(named) if named else operator_folder(locate_home(None, os.environ)) / FACTS


def _wanted_workers(database: str | None) -> WantedWorkers | None:
    """Return what decides the number of workers, where another system starts them."""
    most = read_variable("FLORIN_WORKERS_MAX")
    if most is None:
        return None
    if not most.isdecimal() or not 1 <= int(most) <= _WORKERS_MOST:
        raise ValueError(
            f"FLORIN_WORKERS_MAX: must be a whole number from 1 to {_WORKERS_MOST}, is {most}"
        )
    if database is None:
        raise ValueError("FLORIN_WORKERS_MAX: needs DATABASE_URL, to read the queues")
    return WantedWorkers(database, int(most))


def _place() -> str:
    """Return the name of the installation in alerts: its public host, else this machine's."""
    url = read_variable("FLORIN_PUBLIC_URL")
    return (urlsplit(url).hostname if url else None) or socket.gethostname()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
