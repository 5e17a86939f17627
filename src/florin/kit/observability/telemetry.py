"""Telemetry: what a process of Florin logs, traces and reports, from its start to its end."""

from collections.abc import Generator
from contextlib import contextmanager

from florin.kit.observability import error_reports, logging, tracing
from florin.kit.observability.trace_export import start_export
from florin.kit.settings import Settings


@contextmanager
def process_telemetry(settings: Settings) -> Generator[None]:
    """Configure the logging of this process; export its traces and report its errors, where that
    is configured.
    """
    logging.configure_logging(level=settings.log_level, instance=settings.instance)
    dsn = settings.sentry_dsn
    error_reports.start_reports(
        None if dsn is None else dsn.get_secret_value(),
        release=settings.release,
        environment=settings.env,
        instance=settings.instance,
    )
    start_export(settings)
    try:
        yield
    finally:
        tracing.shut_down()
        error_reports.shut_down()
        logging.flush()
