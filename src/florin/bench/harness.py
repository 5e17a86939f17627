"""Harness: shared by all benchmarks: orderly stop, and a failure in one sentence."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from florin.kit.postgres.short_locks import MigrationFailed
from florin.ops.releases import version
from florin.ops.system.console import OperatorError, voice

_CONNECTIONS_MAX = 1_000
Result = TypeVar("Result")


async def run_measurement(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a measurement; Ctrl-C and SIGTERM end it and all it started. Raises OperatorError."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except MigrationFailed as failed:
        raise OperatorError(f"The database could not be migrated: {failed}.") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise OperatorError(f"The benchmark failed: {lines[0]}") from None
    finally:
        voice.clear()


def check_connections(count: int) -> None:
    """Raises OperatorError for a number of connections that no load may have."""
    if not 1 <= count <= _CONNECTIONS_MAX:
        raise OperatorError(f"--connections must be from 1 to {_CONNECTIONS_MAX}.")


def current_commit() -> str:
    """Return the version of the code that is measured."""
    checkout = os.environ.get("FLORIN_CHECKOUT")
    return version.current_version(Path(checkout) if checkout else Path(__file__).parents[3])
