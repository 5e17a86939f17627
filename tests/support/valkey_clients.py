"""Valkey clients for tests: Florin's own, with long time-outs where a test is not about time."""

import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from florin.kit.valkey import client as valkey
from florin.kit.valkey import topologies


def allow_long_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long time-outs, so that a machine that stalls does not fail a test."""
    monkeypatch.setattr(valkey, "TIMEOUT_S", 20.0)
    monkeypatch.setattr(topologies, "BUDGET_S", 60.0)


@asynccontextmanager
async def valkey_client(url: str) -> AsyncGenerator[Any]:
    """A client that is closed at the end, with the connections it dropped before."""
    client = valkey.connect_valkey(url)
    try:
        yield client
    finally:
        await client.aclose()
        # redis-py drops the sockets of a node that left; collected now, they disturb no later test.
        del client
        gc.collect()
